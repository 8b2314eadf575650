"""The verbs `turnout review agreement` and `stats`: how the reviewing goes."""

import click

from adapters.cli import as_json, show_json, show_table
from adapters.review.book import Wanted
from adapters.review.item import ItemKind, ItemState
from training.cli.queue import of_batch, of_kind, opened_book
from training.cli.workspace import Workspace
from training.review.agreement import Agreement, agreement


@click.command("agreement")
@click.argument("domain")
@of_kind
@of_batch
@as_json
@click.pass_obj
def show_agreement(
    workspace: Workspace, domain: str, kind: ItemKind | None, batch: str | None, as_json: bool
) -> None:
    """Whether annotators agree beyond chance: Krippendorff's alpha, Cohen's kappa, confusions."""
    with opened_book(workspace) as book:
        found = agreement(book.every(Wanted(domain, kind=kind, batch=batch)))
    if as_json:
        show_json(found.as_json())
    else:
        _print_agreement(found)


@click.command()
@click.argument("domain", required=False)
@as_json
@click.pass_obj
def stats(workspace: Workspace, domain: str | None, as_json: bool) -> None:
    """How many items are in which state, and who said how much."""
    with opened_book(workspace) as book:
        counts, people = book.counts(Wanted(domain)), book.annotators(Wanted(domain))
    if as_json:
        return show_json({"items": counts, "annotators": dict(people.most_common())})
    cells = [
        (name, kind, *(states.get(state, 0) for state in ItemState))
        for name, kinds in counts.items()
        for kind, states in kinds.items()
    ]
    show_table(("domain", "kind", *ItemState), cells)
    show_table(("annotator", "items"), people.most_common())


def _print_agreement(found: Agreement) -> None:
    figures = {"alpha, everybody": found.alpha}
    figures |= {f"kappa, {a} and {b}": one for (a, b), one in found.kappa.items()}
    cells = []
    for name, one in figures.items():
        value = "nothing to agree on" if one.value is None else f"{one.value:.3f}"
        reach = "" if one.ci95 is None else f"[{one.ci95[0]:.3f}, {one.ci95[1]:.3f}]"
        cells.append((name, value, reach, one.n))
    show_table(("agreement", "value", "95 %", "items"), cells)
    confused = [
        (one, other, count)
        for one, others in found.confusion.items()
        for other, count in others.items()
        if one < other
    ]
    if confused:
        show_table(("one said", "another said", "times"), confused)
    if found.disputed:
        click.echo(f"{len(found.disputed)} are disputed; `turnout review label --settle` ends that")
