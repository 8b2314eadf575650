"""Answers that a model is asked for once."""

from pathlib import Path

import pytest

from training.evaluation.evaluate import Question
from training.evaluation.kept_answers import KeptAnswers, model_digest


def test_answers_are_kept_even_if_the_last_line_is_not_whole(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    asked: list[str] = []

    def shout(questions, on_progress):  # type: ignore[no-untyped-def]
        asked.extend(question.messages[0]["content"] for question in questions)
        return [question.messages[0]["content"].upper() for question in questions]

    questions = [Question([{"role": "user", "content": text}], 9) for text in ("b", "a", "b")]
    heard: list[tuple[int, int]] = []
    for _ in range(2):
        answers = KeptAnswers(file).by("one", shout)
        assert answers(questions, lambda *one: heard.append(one)) == ["B", "A", "B"]
        assert sorted(asked) == ["a", "b"]
    assert heard[-1] == (3, 3)
    lines = file.read_bytes()
    file.write_bytes(lines + b'7\n["a", 1]\n\xff\n["cut')
    assert KeptAnswers(file).by("one", shout)(questions, lambda *_: None) == ["B", "A", "B"]
    KeptAnswers(file).by("another", shout)(questions, lambda *_: None)
    assert sorted(asked) == ["a", "a", "b", "b"]
    KeptAnswers(file).by("another", shout)(questions, lambda *_: None)
    assert len(asked) == 4, "what comes after a line that was cut short is found again"


def test_of_very_many_answers_the_newer_half_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "answers.jsonl"
    asked: list[str] = []

    def echo(questions, on_progress):  # type: ignore[no-untyped-def]
        asked.extend(question.messages[0]["content"] for question in questions)
        return [question.messages[0]["content"] for question in questions]

    def ask(*texts: str) -> list[str | None]:
        questions = [Question([{"role": "user", "content": text}], 9) for text in texts]
        return KeptAnswers(file).by("one", echo)(questions, lambda *_: None)

    monkeypatch.setattr("training.evaluation.kept_answers._MOST", 3)
    for text in ("a", "b", "c", "d"):
        assert ask(text) == [text]
    assert ask("d", "c", "b", "a") == ["d", "c", "b", "a"]
    assert asked == ["a", "b", "c", "d", "b", "a"]
    assert [path.name for path in tmp_path.iterdir()] == ["answers.jsonl"]


def test_a_model_is_known_by_what_decides_its_answers(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir(), adapter.mkdir()
    (base / "model.safetensors").write_bytes(b"weights")
    (adapter / "adapter_config.json").write_text('{"lora_alpha": 16}')
    seen = {model_digest(base), model_digest(base, adapter)}
    (adapter / "adapter_config.json").write_text('{"lora_alpha": 32}')
    seen.add(model_digest(base, adapter))
    (base / "model.safetensors").write_bytes(b"others")
    seen.add(model_digest(base))
    assert len(seen) == 4
    before = model_digest(base, adapter)
    (adapter / "README.md").write_text("a card")
    assert model_digest(base, adapter) == before
