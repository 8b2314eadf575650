"""Answers kept in a file as they come, so that an interrupted benchmark goes on where it was."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from training.evaluation.evaluate import Answers, Question

_TOGETHER = 32  # questions that a kill can lose


class Answered:
    """A file of answers by who was asked what."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        # A kill may have cut the last line short.
        whole = (file.read_bytes() if file.exists() else b"").rpartition(b"\n")
        file.write_bytes(whole[0] + whole[1])
        self._file = file
        self._known: dict[str, str | None] = dict(map(json.loads, whole[0].splitlines()))

    def by(self, model: str, answers: Answers) -> Answers:
        """The same answers; a model, by a name that changes with its weights, is asked once."""

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
            file.writelines(json.dumps(pair) + "\n" for pair in answers.items())
        self._known |= answers


def _key(model: str, question: Question) -> str:
    asked = json.dumps([model, question.messages, question.max_tokens])
    return hashlib.sha256(asked.encode()).hexdigest()
