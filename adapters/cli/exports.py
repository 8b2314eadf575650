"""`turnout experiments export`, and how a verb writes rows: to a file that appears whole or not at
all, or to stdout."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click
from rich.console import Console
from rich.progress import Progress

from adapters.cli import Workspace
from adapters.cli.books import checks_for, open_book
from adapters.errors import ExportFailed
from adapters.exports import Export, Format, Row
from adapters.store import Store

_out = click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write; default stdout."
)
_form = click.option(
    "--format",
    "form",
    type=click.Choice([*map(str, Format)]),
    help="Default: by the ending of --out, or jsonl.",
)


def destination(command: Any) -> Any:
    """The options that say where rows go, and how they are written."""
    return _out(_form(command))


@click.command("export")
@click.argument("name")
@destination
@click.pass_obj
def export_experiment(workspace: Workspace, name: str, out: Path | None, form: str | None) -> None:
    """A row for each answer of NAME, with every metric of the design as the analysis reads it (the
    columns `metric:…`, empty where an answer does not count)."""
    # Here, as it brings numpy: a moment that the other verbs need not wait.
    from adapters.experiments.export import export
    from adapters.experiments.metrics import end_of

    entry, store = open_book(workspace).entry(name), Store(workspace.store_url)
    checks, until = checks_for(workspace, entry.experiment), end_of(entry)
    steps = 2 * store.recorded(experiment=name, until=until)  # each is read, and then written
    with shown(out, steps) as advance:
        write(export(store, entry.experiment, until, checks, advance), out, form, advance)


@contextmanager
def shown(out: Path | None, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr while a file is written; yields what is called at each step."""
    with Progress(console=Console(stderr=True), disable=out is None, transient=True) as bar:
        task = bar.add_task("exporting", total=total)
        yield lambda: bar.advance(task)


def write(table: Export, out: Path | None, form: str | None, on_row: Callable[[], None]) -> None:
    """Write rows to a file or to stdout; `on_row` is called for each.

    Raises:
        ExportFailed: they could not all be written; a file that was there before is unharmed.
    """
    chosen = _format(out, form)
    if out is None and chosen is Format.PARQUET:
        raise click.UsageError("Parquet goes to a file: name it with --out")
    told = Export(table.columns, _each(table.rows, on_row))
    try:
        with whole(out) if out else click.open_file("-", "wb") as file:
            told.write(chosen, file)
            file.flush()
    except OSError as exc:
        if out is None and exc.errno == errno.EPIPE:
            raise  # whoever reads has enough: click ends quietly
        reason = exc.strerror or str(exc)
        raise ExportFailed(f"{out or 'stdout'} could not be written whole: {reason}") from exc


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its place once everything is written; what fails leaves nothing behind."""
    if path.exists() and not path.is_file():  # a pipe, a device: nothing to put in its place
        with path.open("wb") as file:
            yield file
        return
    place = path.resolve()
    aside = place.with_name(f".turnout-{os.getpid()}.part")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(place)
    finally:
        aside.unlink(missing_ok=True)


def _format(out: Path | None, form: str | None) -> Format:
    ending = out.suffix.lower().removeprefix(".") if out else ""
    if form is None and ending in list(Format):
        return Format(ending)
    return Format(form or Format.JSONL)


def _each(rows: Iterable[Row], on_row: Callable[[], None]) -> Iterator[Row]:
    for row in rows:
        yield row
        on_row()
