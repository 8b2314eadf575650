"""Answers of the log that somebody should look at: disliked ones that nobody corrected, and those
on which people disagree."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from adapters.interactions import JudgedInteraction
from adapters.review.item import Example, ItemKind
from adapters.review.proposal import NewItem
from adapters.store import Store
from training.curation.context import Context, ContextLost
from training.curation.duplicates import drop_contradictions
from training.curation.interactions import row_of, rows_from_log, verdicts, whole_text
from training.curation.removal import Reason
from training.errors import DataError
from training.rows import Kind, Row


def collect(
    domain: str,
    store: Store,
    *,
    context: Context,
    own: Sequence[Row] = (),
    opted_out: Collection[str] = (),
    wanted: int = 1,
) -> list[NewItem]:
    """Items for the queue, each question once; only answers that may be trained on.

    `own` are the rows of the domain's owner: answers that contradict them are looked at, and the
    labels of a task are theirs.
    """
    rows, removed = rows_from_log(store.judged(domain), context=context, opted_out=opted_out)
    undecided = {item.origin for item in removed if item.reason is Reason.UNDECIDED}
    told = [row for row in rows if row.kind is not Kind.PREFERENCE]
    _, disputed = drop_contradictions([*own, *told])
    contradictory = {item.origin for item in disputed if item.reason is Reason.CONTRADICTION}
    found = [row for row in told if row.origin in contradictory]
    if undecided:
        found += _contradicted(store.judged(domain), undecided, context)
    labels = labels_by_task(own)
    disagreed = {row.prompt for row in found}
    disliked = [row for row in told if row.desirable is False and row.prompt not in disagreed]
    items = {
        row.prompt: _item(domain, kind, row, labels, wanted)
        for kind, some in ((ItemKind.LOG, disliked), (ItemKind.DISAGREEMENT, found))
        for row in some
    }
    return list(items.values())


def labels_by_task(rows: Iterable[Row]) -> dict[str, tuple[str, ...]]:
    """The labels of each task whose answers are all labels."""
    answers: dict[str, set[str] | None] = {}
    for row in rows:
        known = answers.setdefault(row.task, set())
        if row.label is None or row.label != row.answer:
            answers[row.task] = None
        elif known is not None:
            known.add(row.label)
    return {task: tuple(sorted(some)) for task, some in answers.items() if some}


def _contradicted(
    judged: Iterable[JudgedInteraction], names: Collection[str], context: Context
) -> list[Row]:
    """Answers that some feedback praises and other feedback blames."""
    found = []
    for item in judged:
        asked, text = item.interaction, whole_text(item.interaction)
        if asked.id not in names or text is None or len(verdicts(item.feedback)) < 2:
            continue
        try:
            found.append(row_of(asked, context.messages(asked), text))
        except (ContextLost, DataError):
            continue  # it was usable a moment ago; its passages are gone since
    return found


def _item(
    domain: str,
    kind: ItemKind,
    row: Row,
    labels: Mapping[str, tuple[str, ...]],
    wanted: int,
) -> NewItem:
    return NewItem(
        domain,
        kind,
        Example(row.prompt, row.answer, task=row.task, labels=labels.get(row.task, ())),
        origin={"receipt": row.origin, "time": row.time},
        wanted=wanted,
        receipt=row.origin,
        unit=row.unit,
    )
