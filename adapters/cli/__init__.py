"""This package's verbs of the `turnout` command: adapters, experiments, log, pack."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import click
import orjson

from adapters.artifacts import Artifacts
from adapters.experiments.shelf import Shelf

_UNBOUNDED = 10_000  # characters a line

as_json = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on stdout, nothing else."
)


class Workspace(Protocol):
    """What these verbs need of the command's workspace."""

    @property
    def store_url(self) -> str: ...
    @property
    def versions(self) -> Artifacts: ...
    @property
    def packs(self) -> tuple[Path, ...]: ...
    def shelf(self) -> Shelf: ...
    def replica_states(self) -> dict[str, list[dict[str, str]]] | None: ...


def show_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(
        orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE), nl=False
    )


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows for people; empty cells for None."""
    # Here, as the gateway's process imports this module and never prints a table.
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console = Console(markup=False)  # cells are what others wrote
    if not console.is_terminal:
        console.width = _UNBOUNDED  # names stay whole for grep
    console.print(table)
