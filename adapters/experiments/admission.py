"""Why an experiment may not have the traffic it asks for."""

import time
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from adapters import tables
from adapters.experiments.design import Experiment
from adapters.experiments.entry import Entry
from adapters.store import instant


def limit_problems(experiment: Experiment, weights: Mapping[str, float]) -> list[str]:
    """Whether the arms under test would get more than their owner allows."""
    percent, most = experiment.percent_of(weights), experiment.limits.percent
    if percent <= most + 1e-9:
        return []
    return [f"limits.percent: {percent:g} % for the arms under test, the most is {most:g} %"]


def cooling(connection: Connection, domain: str, entries: Sequence[Entry]) -> list[str]:
    """Why a domain gets no other rollout yet."""
    moves = tables.experiment_moves
    query = select(moves.c.experiment, moves.c.at).where(moves.c.kind == "rollback")
    rolled_back = {name: instant(at) for name, at in connection.execute(query)}
    problems = []
    for design in (e.experiment for e in entries if e.experiment.domain == domain):
        hours = design.limits.cooldown_hours
        left = rolled_back.get(design.name, 0.0) / 3600 + hours - time.time() / 3600
        if left > 0:
            problems.append(
                f"limits.cooldown_hours: {design.name!r} was rolled back, {hours:g} hours have to "
                f"pass, {left:.3g} are left (force begins now)"
            )
    return problems
