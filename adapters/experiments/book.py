"""The experiments on record: created, listed, stopped. The arithmetic of assignment lives next
door."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Row, insert, select, update

from adapters import tables
from adapters.errors import InvalidExperiment, UnknownExperiment
from adapters.experiments.assignment import BASE_ARM, Arm, Experiment
from adapters.registry import Registry
from adapters.store import Store, now


@dataclass(frozen=True, slots=True)
class Entry:
    """An experiment and when it ran; `stopped` is None while it runs."""

    experiment: Experiment
    created: str
    stopped: str | None


class ExperimentBook:
    """Reads and writes experiments; refuses those that make no sense, with the reason."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry

    def create(self, name: str, domain: str, arms: Sequence[Arm]) -> Experiment:
        """Start an experiment on a domain's traffic.

        Raises:
            InvalidExperiment: a bad name, fewer than two arms, bad weights, an arm that cannot
            serve this
                domain, or another experiment running on it.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
            raise InvalidExperiment(
                f"{name!r} is no experiment name: letters, digits, _ . -, at most 64"
            )
        experiment = Experiment(name, domain, secrets.token_hex(8), tuple(arms))
        self._check_arms(experiment)
        for entry in self.entries():
            if entry.experiment.name == name:
                raise InvalidExperiment(f"an experiment {name!r} exists; names are not used twice")
            if entry.experiment.domain == domain and entry.stopped is None:
                raise InvalidExperiment(
                    f"{entry.experiment.name!r} runs on {domain}; stop it first"
                )
        with self._store.change() as connection:
            connection.execute(
                insert(tables.experiments).values(
                    name=name,
                    domain=domain,
                    salt=experiment.salt,
                    arms=[asdict(arm) for arm in experiment.arms],
                    created=now(),
                )
            )
        return experiment

    def stop(self, name: str) -> None:
        """End an experiment; its units return to the champion."""
        entry = self.entry(name)
        if entry.stopped is not None:
            raise InvalidExperiment(f"{name!r} was stopped at {entry.stopped}")
        with self._store.change() as connection:
            connection.execute(
                update(tables.experiments)
                .where(tables.experiments.c.name == name)
                .values(stopped=now())
            )

    def entry(self, name: str) -> Entry:
        """One experiment by name; raises UnknownExperiment."""
        for entry in self.entries():
            if entry.experiment.name == name:
                return entry
        raise UnknownExperiment(f"no experiment {name!r}; `turnout experiments list` shows them")

    def entries(self) -> list[Entry]:
        """Every experiment, oldest first."""
        with self._store.transaction() as connection:
            query = select(tables.experiments).order_by(tables.experiments.c.created)
            return [_entry(row) for row in connection.execute(query)]

    def running(self) -> dict[str, Experiment]:
        """The running experiment of each domain that has one."""
        return {e.experiment.domain: e.experiment for e in self.entries() if e.stopped is None}

    def _check_arms(self, experiment: Experiment) -> None:
        known = {version.name: version for version in self._registry.versions(experiment.domain)}
        for arm in experiment.arms:
            if arm.model == BASE_ARM:
                continue
            if arm.model not in known:
                raise InvalidExperiment(
                    f"arm {arm.name}: {arm.model!r} is no version of {experiment.domain}"
                )
            if known[arm.model].retired:
                raise InvalidExperiment(f"arm {arm.name}: {arm.model} is retired")


def _entry(row: Row[tuple[object, ...]]) -> Entry:
    arms = tuple(Arm(**arm) for arm in row.arms)
    return Entry(Experiment(row.name, row.domain, row.salt, arms), row.created, row.stopped)
