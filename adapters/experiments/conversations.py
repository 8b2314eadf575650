"""Conversations that run while weights move: each goes on in the arm it began in.

An assignment is a function of the unit and the weights, so a move would take a unit's running
conversation to another model. Whoever moves therefore looks up, in the store, the sessions that
were answered lately by another arm than they would get now, and the store keeps that list beside
the weights: every gateway reads the same one, also after a restart. What the store has not got yet
is missed: answers of the last second or so (the journal's delivery), and those that gateways give
by the old weights until they take up the move; `ExperimentBook.settle`, called a few seconds after
a move, finds these as well. A conversation without a session id is not known to be one.
"""

import time

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Text, cast, select

from adapters import tables
from adapters.experiments.assignment import Split
from adapters.experiments.design import Unit
from adapters.interactions import unit_digest

IDLE_SECONDS = 1800.0  # a conversation without a turn for so long is over
MOST_KEPT = 20_000  # the latest ones; a gateway holds them in memory
_MOST_READ = 500_000

Kept = dict[str, tuple[str, float]]


class _Turn(Struct):
    """What is read of an interaction's record."""

    arm: str | None = None
    arm_propensity: float = 1.0
    experiment_unit: str | None = None
    session: str | None = None
    shadow_of: str | None = None


_decode = msgspec.json.Decoder(_Turn).decode


def running_conversations(connection: Connection, split: Split) -> Kept:
    """Sessions that were lately answered by another arm than `split` gives their unit."""
    if split.experiment.unit is Unit.REQUEST:
        return {}
    stored = tables.interactions.c
    query = (
        select(cast(stored.record, Text))
        .where(
            stored.experiment == split.experiment.name,
            stored.created >= time.time() - IDLE_SECONDS,
        )
        .order_by(stored.created.desc())
        .limit(_MOST_READ)
    )
    kept: Kept = {}
    seen: set[str] = set()
    for (record,) in connection.execute(query):
        turn = _decode(record)
        if turn.arm is None or turn.session is None or turn.session in seen or turn.shadow_of:
            continue
        seen.add(turn.session)
        if split.assign(turn.experiment_unit or "").arm.name != turn.arm:
            kept[unit_digest(turn.session)] = (turn.arm, turn.arm_propensity)
            if len(kept) == MOST_KEPT:
                break
    return kept
