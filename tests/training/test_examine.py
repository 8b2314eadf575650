"""An upload is read as training would read it; what is wrong is named by file and line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.uploads import Examined
from training.service.examine import examine

ASKED = [{"role": "user", "content": "hello"}]
CHAT = json.dumps({"messages": [*ASKED, {"role": "assistant", "content": "hi"}]})
PAIR = json.dumps({"prompt": "hello", "chosen": "hi", "rejected": "no"})


def test_examples_are_counted_by_kind(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("\n".join([CHAT, "", PAIR, CHAT]))
    assert examine(path, "mine.jsonl") == Examined({"preference": 1, "sft": 2})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "mine.jsonl: the file holds no example"),
        (f"{CHAT}\n{{".encode(), "mine.jsonl:2: not valid JSON"),
        (b"[1]", "mine.jsonl:1: expected a JSON object"),
        (b'{"a": 1}', 'mine.jsonl:1: expected "messages"'),
        (b"\xff\xfe{", "mine.jsonl: not UTF-8 text"),
        (b'{"messages": ' + b"[" * 100_000, "mine.jsonl:1: not valid JSON"),
        (f"{CHAT}\n{'9' * 5000}".encode(), "mine.jsonl:2: not valid JSON"),
        (b'{"messages": [{"role": "user", "content": 5}, {}]}', "mine.jsonl:1: messages[0]"),
        (b"\x00" * 1000, "mine.jsonl:1: not valid JSON"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    found = examine(path, "mine.jsonl")
    assert found.examples == {}
    assert found.problem is not None and found.problem.startswith(problem)
    assert str(tmp_path) not in found.problem and len(found.problem) <= 1000


def test_the_reader_brings_no_torch() -> None:
    light = "training.service.examine, training.service.worker, training.cli.jobs"
    code = f"import sys, {light}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "peft", "presidio_analyzer"} & set(done.stdout.split())
