"""What the verbs of the review queue share: the store, and options that say which items."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import click

from adapters.errors import AdapterError, InvalidReview, UnknownItem
from adapters.review.book import ReviewBook
from adapters.review.item import ItemKind
from adapters.store import Store
from training.errors import DataError, TooFewRows, TrainingError


class Workspace(Protocol):
    """What these verbs need of the command's workspace."""

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the store."""

    @property
    def packs(self) -> tuple[Path, ...]:
        """Folders of the configured packs."""

    @property
    def artifacts(self) -> Path:
        """Where indexes lie, in a folder of that name."""

    @property
    def opted_out(self) -> tuple[str, ...]:
        """Keys whose answers are never trained on."""

    @property
    def development_key(self) -> str | None:
        """Key of the system that runs on this state folder, if `turnout up` made one."""


def _kind(_context: click.Context, _option: click.Parameter, name: str | None) -> ItemKind | None:
    return None if name is None else ItemKind(name)


of_kind = click.option(
    "--kind", type=click.Choice(list(map(str, ItemKind))), callback=_kind, help="Only of this kind."
)
of_batch = click.option("--batch", help="Only of one synthesis or comparison.")
as_annotator = click.option(
    "--as", "annotator", required=True, metavar="NAME", help="Who you are; kept with what you say."
)


@contextmanager
def opened_store(workspace: Workspace) -> Iterator[Store]:
    """The store; what cannot be used becomes wrong use."""
    store = Store(workspace.store_url)
    try:
        yield store
    except (DataError, TooFewRows, InvalidReview, UnknownItem) as exc:
        raise click.UsageError(str(exc)) from exc
    except (TrainingError, AdapterError) as exc:
        raise click.ClickException(str(exc)) from exc
    finally:
        store.close()


@contextmanager
def opened_book(workspace: Workspace) -> Iterator[ReviewBook]:
    """The queue in the store."""
    with opened_store(workspace) as store:
        yield ReviewBook(store)
