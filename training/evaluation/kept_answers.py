"""Answers kept in a file as they come: a model is asked the same question once, in this run or a
later one, and after a kill the work goes on where it was.

Of very many the older half is forgotten when the file is next read.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from adapters.files import file_digest
from training.evaluation.evaluate import Answers, Question

_TOGETHER = 64  # questions that a kill can lose
_MOST = 100_000  # a hundred trials of a thousand questions, some 30 MB


class KeptAnswers:
    """A file of greedy answers by who was asked what. It may be deleted at any time."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file
        self._known: dict[str, str | None] = {}
        if file.exists():
            for line in file.read_bytes().splitlines():
                match _parsed(line):
                    case [str(key), str() | None as answer]:
                        self._known[key] = answer
        if len(self._known) > _MOST:
            self._forget_older_half()

    def by(self, model: str, answers: Answers) -> Answers:
        """The same answers; `model` is a name that changes with its weights, as `model_digest`."""

        def ask(
            questions: Sequence[Question], on_progress: Callable[[int, int], None]
        ) -> list[str | None]:
            keys = [_key(model, question) for question in questions]
            missing = {
                key: question
                for key, question in zip(keys, questions, strict=True)
                if key not in self._known
            }
            # Alike in length, so that little is computed for padding.
            order = sorted(missing, key=lambda key: len(str(missing[key].messages)))
            known = len(questions) - len(order)
            for start in range(0, len(order), _TOGETHER):
                some = order[start : start + _TOGETHER]
                done = known + start
                texts = answers(
                    [missing[key] for key in some],
                    lambda more, _, done=done: on_progress(done + more, len(questions)),  # type: ignore[misc]
                )
                self._keep(dict(zip(some, texts, strict=True)))
            on_progress(len(questions), len(questions))
            return [self._known[key] for key in keys]

        return ask

    def _keep(self, answers: dict[str, str | None]) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write("\n" + _lines(answers))  # what was cut short ends here
        self._known |= answers

    def _forget_older_half(self) -> None:
        """What another run writes meanwhile may be lost with it, and is asked again."""
        newer = list(self._known.items())[len(self._known) // 2 :]
        self._known = dict(newer)
        aside = self._file.with_name(f".{self._file.name}.{os.getpid()}.part")
        try:
            aside.write_text(_lines(self._known), encoding="utf-8")
            aside.replace(self._file)
        finally:
            aside.unlink(missing_ok=True)


def model_digest(*folders: Path) -> str:
    """SHA-256 over what decides the answers of a model, or of a model and its adapter: weights,
    configurations, chat template."""
    decisive = ("*.safetensors", "*config.json", "*.jinja")
    files = [sorted(folder.glob(pattern)) for folder in folders for pattern in decisive]
    digests = [file_digest(file) for some in files for file in some]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _lines(answers: Mapping[str, str | None]) -> str:
    return "".join(json.dumps(pair) + "\n" for pair in answers.items())


def _parsed(line: bytes) -> Any:
    """What a line holds; None if a kill has cut it short."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def _key(model: str, question: Question) -> str:
    asked = [version("turnout"), version("torch"), model, question.messages, question.max_tokens]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()
