"""An adapter folder that must not be served is refused, with the reason."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from adapters.errors import CorruptAdapter
from adapters.manifest import check_adapter, config_hash, verify
from adapters.registry import Registry
from tests.adapters.folders import facts, write_adapter


def test_a_plain_lora_is_accepted(tmp_path: Path) -> None:
    assert check_adapter(write_adapter(tmp_path / "a"))["r"] == 8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"peft_type": "IA3"}, "only LORA"),
        ({"rank": 12}, "rank 12"),
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"lora_bias": True}, "lora_bias"),
        ({"bias": "all"}, "bias='all'"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa"),
    ],
)
def test_what_engines_refuse_is_refused_first(
    tmp_path: Path, options: dict[str, object], said: str
) -> None:
    with pytest.raises(CorruptAdapter, match=said):
        check_adapter(write_adapter(tmp_path / "a", **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, bad: float) -> None:
    folder = write_adapter(tmp_path / "a")
    for kind in (np.float32, np.float16):
        weights = np.ones((4, 4), dtype=kind)
        weights[2, 3] = bad
        save_file({"x": weights}, folder / "adapter_model.safetensors")
        with pytest.raises(CorruptAdapter, match="NaN or infinite"):
            check_adapter(folder)


def test_pickles_are_refused(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    (folder / "adapter_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(CorruptAdapter, match="may run code"):
        check_adapter(folder)


@given(junk=st.binary(max_size=200))
def test_no_bytes_get_through_as_weights_or_configuration(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes
) -> None:
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        folder = write_adapter(tmp_path_factory.mktemp("junk") / "a")
        (folder / name).write_bytes(junk)
        with pytest.raises(CorruptAdapter):
            check_adapter(folder)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(CorruptAdapter, match="not a whole safetensors file"):
        check_adapter(folder)


@pytest.mark.parametrize("harm", ["change", "extra", "remove", "link", "manifest", "rename"])
def test_a_published_version_that_was_touched_is_refused(
    tmp_path: Path, registry: Registry, harm: str
) -> None:
    manifest = registry.publish("legal", write_adapter(tmp_path / "a"), facts())
    folder = registry.version(manifest.version).folder
    weights = folder / "adapter_model.safetensors"
    match harm:
        case "change":
            weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
        case "extra":
            (folder / "more.json").write_text("{}")
        case "remove":
            weights.unlink()
        case "link":
            real = tmp_path / "real"
            os.replace(weights, real)
            weights.symlink_to(real)
        case "manifest":
            (folder / "manifest.json").write_text("{")
        case "rename":
            folder = folder.rename(folder.parent / "legal--v9-00000000")
    with pytest.raises(CorruptAdapter):
        verify(folder)


def test_the_base_hash_names_the_weights_and_not_the_software(tmp_path: Path) -> None:
    def hashed(**config: object) -> str:
        (tmp_path / "config.json").write_text(json.dumps(config))
        return config_hash(tmp_path)

    assert hashed(hidden_size=576, transformers_version="4") == hashed(hidden_size=576)
    assert hashed(hidden_size=576) != hashed(hidden_size=960)
