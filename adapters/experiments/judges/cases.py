"""What of an experiment a judge has not judged yet, and how its judgements are kept.

Between live arms every answer is a case of its own. Where all other arms are shadows, a case is a
pair: what was seen, and what a shadow said to the same.
"""

import hashlib
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import msgspec
from sqlalchemy import Connection, Text, cast, exists, select

from adapters import tables
from adapters.delivery import FeedbackRow, Record
from adapters.experiments.assignment import Standing, uniform
from adapters.experiments.design import Experiment, Judge
from adapters.experiments.judges.prompts import conversation_text
from adapters.experiments.measures import JUDGE
from adapters.experiments.signals import Said
from adapters.interactions import Feedback, Outcome
from adapters.store import Store

KEY = "judge"  # whose feedback it is
_ROWS = 200  # fetched at once
_decode = msgspec.json.Decoder(Said).decode


@dataclass(frozen=True, slots=True)
class Given:
    """An answer, by its receipt."""

    receipt: str
    text: str


@dataclass(frozen=True, slots=True)
class Case:
    """An answer to judge, or with a shadow's beside it two to compare."""

    conversation: str
    answer: Given
    shadow: Given | None = None


def unjudged(store: Store, experiment: Experiment, judge: Judge, most: int) -> list[Case]:
    """The oldest cases in the judge's share that it has not judged; tool calls are none."""
    with store.transaction() as connection:
        look = _pairs if len(experiment.live) < 2 else _answers
        with closing(look(connection, experiment, judge)) as found:
            return list(islice(found, most))


def keep(
    store: Store, experiment: Experiment, judge: Judge, case: Case, value: float | None
) -> None:
    """Store a judgement as feedback, None for one that could not be read; of a pair for both
    answers, which together have 1. Once for each answer, however often it is judged."""
    sides = [(case.answer, case.shadow, value)]
    if case.shadow is not None:
        sides.append((case.shadow, case.answer, None if value is None else 1 - value))
    store.take(
        [
            _record(
                Feedback(
                    id=_identity(experiment, judge, given.receipt),
                    interaction_id=given.receipt,
                    created=time.time(),
                    metric=f"{JUDGE}{judge.name}",
                    value=part,
                    preferred_over=other.receipt if other is not None and part == 1 else None,
                    key=KEY,
                )
            )
            for given, other, part in sides
        ]
    )


def _answers(
    connection: Connection, experiment: Experiment, judge: Judge
) -> Generator[Case, None, None]:
    for stored in _open(connection, experiment, judge):
        # A shadow's answer is judged wherever the seen one is.
        asked = stored.shadow_of or stored.id
        if stored.text is not None and _in_share(judge, asked):
            yield Case(conversation_text(stored.request), Given(stored.id, stored.text))


def _pairs(
    connection: Connection, experiment: Experiment, judge: Judge
) -> Generator[Case, None, None]:
    for shadow in _open(connection, experiment, judge):
        seen_id = shadow.shadow_of
        if seen_id is None or shadow.text is None or not _in_share(judge, seen_id):
            continue
        if shadow.arm != _rival(experiment, judge, seen_id):
            continue
        seen = _one(connection, seen_id)
        if seen is not None and seen.exposed and seen.text is not None:
            yield Case(
                conversation_text(seen.request),
                Given(seen.id, seen.text),
                Given(shadow.id, shadow.text),
            )


def _rival(experiment: Experiment, judge: Judge, receipt: str) -> str:
    """The shadow arm that an answer is compared with, by lot: were it compared with several, what
    is said of it could not be told apart."""
    arms = [arm.name for arm in experiment.shadows]
    return min(arms, key=lambda arm: uniform("pair", judge.name, receipt, arm))


def _open(
    connection: Connection, experiment: Experiment, judge: Judge
) -> Generator[Said, None, None]:
    """Answers that an arm, or the holdout, gave and the judge has said nothing of, oldest first."""
    stored, judged = tables.interactions.c, tables.feedback.c
    known = exists().where(
        judged.interaction_id == stored.id, judged.metric == f"{JUDGE}{judge.name}"
    )
    query = (
        select(cast(stored.record, Text))
        .where(stored.experiment == experiment.name, stored.outcome == Outcome.OK, ~known)
        .order_by(stored.created, stored.id)
    )
    with connection.execute(query.execution_options(yield_per=_ROWS)) as rows:
        for (record,) in rows:
            answer = _read(record)
            if answer is not None and answer.exposed and answer.standing != Standing.INELIGIBLE:
                yield answer


def _one(connection: Connection, receipt: str) -> Said | None:
    stored = tables.interactions.c
    query = select(cast(stored.record, Text)).where(stored.id == receipt)
    record = connection.execute(query).scalar()
    return None if record is None else _read(record)


def _read(record: str) -> Said | None:
    try:
        return _decode(record)
    except msgspec.DecodeError:
        return None


def _in_share(judge: Judge, receipt: str) -> bool:
    return uniform("judge", judge.name, receipt) < judge.share


def _identity(experiment: Experiment, judge: Judge, receipt: str) -> str:
    said = f"{experiment.name}\0{judge.name}\0{receipt}"
    return "judge-" + hashlib.sha256(said.encode()).hexdigest()[:40]


def _record(feedback: Feedback) -> Record:
    row = FeedbackRow(feedback.id, feedback.interaction_id, feedback.created, feedback.metric)
    return Record(row, msgspec.json.encode(feedback).decode())
