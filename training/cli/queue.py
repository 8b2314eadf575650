"""What the verbs of the review queue share: the store, and options that say which items."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from adapters.errors import AdapterError, InvalidReview, UnknownItem
from adapters.review.book import ReviewBook
from adapters.review.item import ItemKind
from adapters.store import Store
from training.cli.workspace import Workspace
from training.errors import DataError, TooFewRows, TrainingError


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
