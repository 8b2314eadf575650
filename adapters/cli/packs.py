"""`turnout pack`: make and examine packs."""

from collections import Counter
from pathlib import Path

import click

from adapters.cli import Workspace, as_json, show_json
from adapters.errors import PackError
from adapters.packs import Pack, read_jsonl

_TEMPLATE = """name = "{name}"
title = "{title}"
description = "What belongs here, in one or two sentences."
system_prompt = "Answer briefly, from the sources."

[retrieval]
top_k = 4
min_score = 0.2
"""


@click.group()
def pack() -> None:
    """Packs, the folders that define domains: new, check."""


@pack.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.pass_obj
def new(workspace: Workspace, folder: Path) -> None:
    """Make a pack in FOLDER, to be filled in; its name is the folder's."""
    if folder.exists():
        raise PackError(f"{folder} exists already")
    (folder / "documents").mkdir(parents=True)
    name = folder.name.lower()
    (folder / "pack.toml").write_text(_TEMPLATE.format(name=name, title=name.capitalize()))
    (folder / "queries.jsonl").write_text(
        f'{{"text": "what people would ask", "label": "{name}"}}\n'
    )
    Pack.load(folder)
    click.echo(
        f"{folder}: fill in pack.toml, documents/ and queries.jsonl, then add it to turnout.toml"
    )


@pack.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@as_json
@click.pass_obj
def check(workspace: Workspace, folder: Path | None, as_json: bool) -> None:
    """Examine the pack in FOLDER, or all configured ones. Exit code 1 if one cannot be used."""
    reports = [_report(path) for path in ((folder,) if folder else workspace.packs)]
    if as_json:
        show_json(reports)
    else:
        for report in reports:
            click.echo(f"{report['folder']}: {report['problem'] or 'ok'}  {report['counts']}")
    raise SystemExit(1 if any(report["problem"] for report in reports) else 0)


def _report(folder: Path) -> dict[str, object]:
    counts: dict[str, int] = {}
    try:
        found = Pack.load(folder)
        counts["queries"] = sum(1 for _ in found.routing_examples())
        for name, path in (("train", found.train), ("eval", found.eval)):
            tasks = (
                Counter(_task(path, n, row) for n, row in read_jsonl(path)) if path else Counter()
            )
            counts |= {f"{name}.{task}": count for task, count in tasks.items()}
        if found.documents and found.documents.is_dir():
            counts["documents"] = sum(1 for path in found.documents.rglob("*") if path.is_file())
    except PackError as exc:
        return {"folder": str(folder), "problem": str(exc), "counts": counts}
    return {"folder": str(folder), "problem": "", "counts": counts}


def _task(path: Path, number: int, row: dict[str, object]) -> str:
    messages, meta = row.get("messages"), row.get("meta") or {}
    if not isinstance(messages, list) or len(messages) < 2 or not isinstance(meta, dict):
        raise PackError(
            f'{path}:{number}: expected {{"messages": [question, answer], "meta": {{"task": …}}}}'
        )
    return str(meta.get("task", "untitled"))
