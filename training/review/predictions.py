"""Answers that `turnout evaluate --predictions` wrote, by model and row."""

from collections.abc import Sequence
from pathlib import Path

from adapters.errors import PackError
from adapters.packs import read_jsonl
from training.errors import DataError
from training.review.comparison import Answered
from training.rows import Row


def read_predictions(
    path: Path, rows: Sequence[Row], models: tuple[str, str]
) -> tuple[Answered, Answered]:
    """What two models answered to these rows; raises DataError if the file lacks one of them, or a
    row."""
    found: dict[str, dict[tuple[object, ...], str | None]] = {model: {} for model in models}
    try:
        for number, line in read_jsonl(path):
            where, answer = f"{path}:{number}", line.get("answer")
            if answer is not None and not isinstance(answer, str):
                raise DataError(f"{where}: answer must be a text or null")
            messages = line.get("messages")
            if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
                raise DataError(f"{where}: no prediction; `turnout evaluate --predictions` writes")
            asked = tuple((one.get("role"), one.get("content")) for one in messages)
            if (model := line.get("model")) in found:
                found[model][asked] = answer
    except PackError as exc:
        raise DataError(str(exc)) from exc
    for model, answers in found.items():
        missing = next((row for row in rows if row.prompt not in answers), None)
        if missing is not None:
            raise DataError(f"{path}: {model} has no answer to {missing.origin}")
    first, second = ([(row, found[model][row.prompt]) for row in rows] for model in models)
    return first, second
