"""What a model must not forget while it learns a domain: rows by capability.

The rows shipped here are short and easy, for small models; own ones say more.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from training.errors import DataError
from training.rows import UNNAMED_TASK, Row, read_chat

DEFAULT = tuple(sorted((Path(__file__).parent / "protected").glob("*.jsonl")))


def read_protected(files: Sequence[Path]) -> tuple[Row, ...]:
    """Rows of chat files, or the shipped ones if there are no files; a row's task, or else its
    file's name, names the capability.

    Raises:
        DataError: a line that is no row, or a file without one.
    """
    found: list[Row] = []
    for file in files or DEFAULT:
        rows = read_chat(file)
        if not rows:
            raise DataError(f"{file} holds no row; name a file with rows to be protected")
        found += [replace(row, task=file.stem) if row.task == UNNAMED_TASK else row for row in rows]
    return tuple(found)
