"""What a dataset says of itself, for programs and for people, and the folder it is kept in.

Depends on nothing but the dataset: the same one gives the same files, byte for byte.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training.curation.curate import digest
from training.curation.formats import write_examples
from training.curation.prepare import Prepared
from training.curation.removal import Removed
from training.errors import DataError
from training.rows import Kind, Row

CARD = "card.json"
# Of what was left out for a reason, so many are named on the card; removed.jsonl names all.
_NAMED = 5


def card(prepared: Prepared) -> dict[str, Any]:
    """Counts, what was left out and why, personal data by kind, digests, window and split."""
    rows, parts = prepared.dataset.rows, prepared.parts
    tasks: dict[str, Counter[str]] = {}
    for row in rows:
        tasks.setdefault(row.task, Counter())[row.kind] += 1
    return {
        "domain": prepared.domain,
        "digest": prepared.dataset.digest,
        "test_digest": digest(parts.test),
        "digests": {name: digest(part) for name, part in _parts(prepared).items()},
        "rows": {name: len(part) for name, part in _parts(prepared).items()},
        "kinds": {
            name: _counted(row.kind for row in part) for name, part in _parts(prepared).items()
        },
        "sources": _counted(row.source for row in rows),
        "tasks": {task: dict(sorted(counts.items())) for task, counts in sorted(tasks.items())},
        "units": len({row.unit for row in rows if row.unit is not None}),
        "window": _window(rows),
        "removed": _removals(prepared.removed),
        "personal": prepared.dataset.personal,
        "grouped_by": parts.grouped_by,
        "index": prepared.index,
        "tested_from": None if parts.tested_from is None else _day(parts.tested_from),
        "evaluations": {
            name: {"rows": size, "copies_removed": _copies(prepared, name), "leaked": 0}
            for name, size in sorted(prepared.evaluations.items())
        },
    }


def folder_name(facts: Mapping[str, Any]) -> str:
    """Domain and card's digest: another dataset, or another split of it, has another name."""
    content = json.dumps(facts, sort_keys=True).encode("ascii")
    return f"{facts['domain']}-{hashlib.sha256(content).hexdigest()[:12]}"


def markdown(facts: Mapping[str, Any]) -> str:
    """The card for people."""
    kinds = [str(kind) for kind in Kind]
    personal = facts["personal"]
    found = sorted({kind for counts in personal.values() for kind in counts})
    removed = [
        (reason, some["n"], ", ".join(some["for_example"]))
        for reason, some in facts["removed"].items()
    ]
    evaluations = [(name, *some.values()) for name, some in facts["evaluations"].items()]
    lines = [
        f"# Dataset: {facts['domain']}",
        "",
        _summary(facts),
        *_table(["part", *kinds], _by_kind(facts["kinds"], kinds)),
        *_table(["task", *kinds], _by_kind(facts["tasks"], kinds)),
        *_table(["source", "rows"], facts["sources"].items()),
        *("", "## Left out"),
        *_table(["reason", "rows", "for example"], removed),
        *("", "## Personal data"),
        *_table(
            ["kind", *personal],
            [[kind, *(counts.get(kind, 0) for counts in personal.values())] for kind in found],
        ),
        *("", "## Evaluation sets"),
        *_table(["set", "rows", "near-copies removed from training", "left"], evaluations),
    ]
    return "\n".join([*lines, ""])


def _summary(facts: Mapping[str, Any]) -> str:
    window, since = facts["window"], facts["tested_from"]
    return (
        f"Digest `{facts['digest']}`, test part `{facts['test_digest']}`. "
        + (f"From {window[0]} to {window[1]}. " if window else "")
        + f"{facts['units']} users. Kept apart by {facts['grouped_by']}"
        + (f"; tested on the newest, from {since}." if since else ".")
        + (f" Some rows have passages of index `{facts['index']}`." if facts["index"] else "")
    )


def _by_kind(counts: Mapping[str, Mapping[str, int]], kinds: Iterable[str]) -> list[list[object]]:
    return [[name, *(some.get(kind, 0) for kind in kinds)] for name, some in counts.items()]


def write_dataset(prepared: Prepared, folder: Path) -> dict[str, Any]:
    """Write `{kind}-{part}.jsonl`, removed.jsonl and the card; the folder appears whole.

    Returns the card. Raises DataError if there is something else in the folder's place.
    """
    facts = card(prepared)
    if folder.exists():
        if not (folder / CARD).is_file():
            raise DataError(f"{folder} exists and is no dataset; name another folder with --out")
        if json.loads((folder / CARD).read_bytes()) == json.loads(json.dumps(facts)):
            return facts
        raise DataError(f"{folder} holds another dataset; name another folder with --out")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _fill(aside, prepared, facts)
        aside.chmod(0o755)
        os.rename(aside, folder)
    except OSError as exc:
        shutil.rmtree(aside, ignore_errors=True)
        raise DataError(f"{folder} cannot be written: {exc}") from exc
    return facts


def _fill(folder: Path, prepared: Prepared, facts: Mapping[str, Any]) -> None:
    for name, part in _parts(prepared).items():
        for kind in Kind:
            rows = [row for row in part if row.kind is kind]
            if rows:
                write_examples(folder / f"{kind}-{name}.jsonl", rows)
    lines = sorted(json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in prepared.removed)
    (folder / "removed.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "README.md").write_text(markdown(facts), encoding="utf-8")
    text = json.dumps(facts, indent=2, ensure_ascii=False)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def _parts(prepared: Prepared) -> dict[str, tuple[Row, ...]]:
    parts = prepared.parts
    return {"train": parts.train, "validation": parts.validation, "test": parts.test}


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(map(str, names)).items()))


def _removals(removed: Iterable[Removed]) -> dict[str, Any]:
    origins: dict[str, list[str]] = {}
    for item in removed:
        origins.setdefault(str(item.reason), []).append(item.origin)
    return {
        reason: {"n": len(names), "for_example": sorted(names)[:_NAMED]}
        for reason, names in sorted(origins.items())
    }


def _copies(prepared: Prepared, name: str) -> int:
    start = f"near-copy of {name} "
    return sum(item.detail.startswith(start) for item in prepared.parts.contaminated)


def _window(rows: Iterable[Row]) -> list[str] | None:
    times = [row.time for row in rows if row.time is not None]
    return [_day(min(times)), _day(max(times))] if times else None


def _day(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """Lines of a Markdown table; cells cannot break out of it."""
    lines = [[str(cell) for cell in row] for row in rows]
    if not lines:
        return ["", "Nothing."]
    heads = list(heads)
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    ruled = [heads, ["---"] * len(heads), *cells]
    return ["", *("| " + " | ".join(line) + " |" for line in ruled)]
