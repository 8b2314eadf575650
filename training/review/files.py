"""The queue as a file: written for one annotator, edited in an editor or a spreadsheet, read back.

What an annotator fills in are `verdict`, `correction` and `comment`; nothing else is read but what
shows that the line still belongs to its item.
"""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from adapters.errors import InvalidReview, PackError
from adapters.packs import read_jsonl
from adapters.review.book import ReviewBook
from adapters.review.item import Decision, Item, Verdict, said_by, shown_to
from training.errors import DataError

CSV = ".csv"
# With these a spreadsheet begins a formula (OWASP, "CSV Injection").
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS = (
    "id kind task question passages labels answer rival verdict correction comment said_at".split()
)


def write_items(path: Path, items: Iterable[Item], annotator: str) -> int:
    """Write a line for each item, as JSON or, if the name ends in .csv, for a spreadsheet; whole
    or not at all. How many; raises OSError."""
    aside = path.with_name(f".{path.name}.part")
    written = 0
    try:
        with aside.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, _COLUMNS) if path.suffix.lower() == CSV else None
            if table is not None:
                table.writeheader()
            for item in items:
                line = _line(item, annotator)
                if table is None:
                    file.write(json.dumps(line) + "\n")
                else:
                    table.writerow({name: _cell(value) for name, value in _flat(line).items()})
                written += 1
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return written


def read_decisions(
    path: Path, book: ReviewBook, annotator: str, *, overwrite: bool = False
) -> list[Decision]:
    """What the annotator filled in, all of it checked; lines without a verdict say nothing.

    Raises:
        DataError: a line that cannot be used, as `file:line: reason`; an item that is named twice,
            was changed, or was judged anew elsewhere since the file was written (unless
            `overwrite`), or is gone.
    """
    lines: dict[str, tuple[str, dict[str, Any]]] = {}
    for number, line in _table(path) if path.suffix.lower() == CSV else _lines(path):
        where, name = f"{path}:{number}", line.get("id")
        if not isinstance(name, str):
            raise DataError(f'{where}: "id" must be the id that the export wrote')
        if name in lines:
            raise DataError(f"{where}: {name:.80} is there twice; remove one of both")
        lines[name] = where, line
    items = book.find(lines)
    decisions = []
    for name, (where, line) in lines.items():
        if name not in items:
            raise DataError(f"{where}: nothing to review has the id {name!r:.80}")
        decision = _decision(name, line, where)
        if decision is not None:
            _check(items[name], line, decision, annotator, overwrite, where)
            decisions.append(decision)
    return decisions


def _line(item: Item, annotator: str) -> dict[str, Any]:
    shown, said = shown_to(item, annotator), item.by(annotator)
    return {
        "id": item.id,
        "kind": item.kind,
        "task": shown.task,
        "prompt": [{"role": role, "content": text} for role, text in shown.prompt],
        "passages": shown.passages,
        "labels": shown.labels,
        "answer": shown.answer,
        "rival": shown.rival,
        "verdict": said_by(item, annotator),
        "correction": said.answer if said else None,
        "comment": said.comment if said else "",
        "said_at": said.at if said else None,
    }


def _flat(line: Mapping[str, Any]) -> dict[str, str]:
    """A line's values as one text each."""
    asked = "\n\n".join(f"{one['role']}: {one['content']}" for one in line["prompt"])
    parts = {name: line[name] for name in _COLUMNS if name in line} | {
        "question": asked,
        "passages": "\n\n".join(line["passages"]),
        "labels": "\n".join(line["labels"]),
    }
    return {name: "" if parts[name] is None else str(parts[name]) for name in _COLUMNS}


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULAS) else text


def _plain(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULAS) else cell


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        yield from read_jsonl(path)
    except PackError as exc:
        raise DataError(str(exc)) from exc


def _table(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            missing = {"id", "answer", "verdict"} - set(table.fieldnames or ())
            if missing:
                raise DataError(f"{path}:1: no column {', '.join(sorted(missing))}")
            for row in table:
                if None in row or None in row.values():
                    raise DataError(f"{path}:{table.line_num}: not as many cells as columns")
                yield table.line_num, {name: _plain(cell) for name, cell in row.items()}
    except (csv.Error, UnicodeDecodeError) as exc:
        raise DataError(f"{path}: not CSV in UTF-8 ({exc})") from exc
    except OSError as exc:
        raise DataError(f"{path}: cannot be read ({exc.strerror})") from exc


def _decision(name: str, line: Mapping[str, Any], where: str) -> Decision | None:
    correction, comment = line.get("correction") or None, line.get("comment") or ""
    verdict = line.get("verdict") or (Verdict.CORRECT if correction else None)
    if verdict is None:
        return None
    if not isinstance(verdict, str) or verdict.strip().lower() not in set(Verdict):
        raise DataError(f"{where}: verdict {verdict!r:.40} is not one of {', '.join(Verdict)}")
    for key, text in (("correction", correction), ("comment", comment)):
        if text is not None and not isinstance(text, str):
            raise DataError(f"{where}: {key} must be a text")
    return Decision(name, Verdict(verdict.strip().lower()), correction, comment)


def _check(
    item: Item,
    line: Mapping[str, Any],
    decision: Decision,
    annotator: str,
    overwrite: bool,
    where: str,
) -> None:
    """Raises DataError if the line is not the item's, or older than what was said since."""
    try:
        new = decision.annotation(item, annotator, 0.0)
    except InvalidReview as exc:
        raise DataError(f"{where}: {exc}") from exc
    shown = shown_to(item, annotator)
    for key, text in (("answer", shown.answer), ("rival", shown.rival)):
        if line.get(key) is not None and not _same(line[key], text or ""):
            raise DataError(
                f"{where}: {key} is not what {item.id} has; leave it as it was, and give the right "
                'answer as "correction"'
            )
    said = item.by(annotator)
    if said is None or overwrite or _moment(line.get("said_at"), where) == said.at:
        return
    if (said.verdict, said.answer, said.comment) != (new.verdict, new.answer, new.comment):
        raise DataError(
            f"{where}: {annotator} judged {item.id} anew since this was exported ({said.verdict}); "
            "export again, or give --overwrite"
        )


def _same(cell: object, text: str) -> bool:
    """Whether a text came back; editors and spreadsheets end lines in their own ways."""
    return isinstance(cell, str) and cell.split() == text.split()


def _moment(value: object, where: str) -> float | None:
    if value in (None, ""):
        return None
    try:
        moment = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as exc:
        raise DataError(f"{where}: said_at must stay as it was") from exc
    return moment if math.isfinite(moment) else None
