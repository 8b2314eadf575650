"""Every answer with its score, one JSON object a line, for other programs and for reading."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from training.evaluation.evaluate import Evaluation
from training.evaluation.metrics import details


def write_predictions(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """Write the file anew, whole or not at all. Pure ASCII: whatever a model said can be read back.

    Raises OSError.
    """
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("w", encoding="ascii") as lines:
            for evaluation in evaluations:
                for line in _lines(evaluation):
                    lines.write(json.dumps(line) + "\n")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _lines(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    for task in evaluation.tasks.values():
        for row, answer, value in zip(task.rows, task.answers, task.values, strict=True):
            yield {
                "model": evaluation.model,
                "origin": row.origin,
                "task": row.task,
                "label": row.label,
                "slice": row.slice,
                "messages": row.messages,
                "expected": row.answer,
                "answer": answer,
                "metric": str(task.metric),
                "score": value,
                "details": details(task.metric, row.answer, answer or ""),
            }
