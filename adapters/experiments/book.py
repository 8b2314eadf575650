"""The experiments on record: begun, moved, ended, and why. Who is assigned is `assignment`'s."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, insert, select, update

from adapters import tables
from adapters.errors import InvalidExperiment, RefusedMove, UnknownExperiment
from adapters.experiments.assignment import Split
from adapters.experiments.conversations import Kept, running_conversations
from adapters.experiments.design import BASE_ARM, Experiment
from adapters.experiments.entry import UNSAID, Entry, State, Why
from adapters.experiments.layers import free_start
from adapters.experiments.reading import read_experiment
from adapters.registry import Registry
from adapters.store import Store, now

_TOLD = ("at", "kind", "before", "after", "evidence", "actor", "reason")


class ExperimentBook:
    """Reads and writes experiments; refuses those that make no sense, with the reasons. Every
    change is one transaction, its line in the audit log included."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry

    def begin(self, experiment: Experiment, why: Why = UNSAID) -> Entry:
        """Start an experiment on its domain's traffic, at its first stage.

        Raises:
            InvalidExperiment: a name that was used, an arm that cannot serve the domain, or no
                room beside the experiments that run.
        """
        percent = experiment.stages[0] if experiment.stages else None
        weights = (
            {arm.name: arm.weight for arm in experiment.arms}
            if percent is None
            else experiment.weights_at(percent)
        )
        problems = [*self._arm_problems(experiment), *_limit_problems(experiment, weights)]
        with self._store.change() as connection:
            entries = _entries(connection)
            if any(entry.experiment.name == experiment.name for entry in entries):
                problems.append(
                    f"name: an experiment {experiment.name!r} exists; names are not used twice"
                )
            live = [entry for entry in entries if entry.state is not State.STOPPED]
            start, room = free_start(experiment, [(e.experiment, e.start) for e in live])
            if problems := [*problems, *room]:
                raise InvalidExperiment("; ".join(problems))
            made = Entry(experiment, State.RUNNING, percent, weights, {}, start, now(), now(), None)
            connection.execute(
                insert(tables.experiments).values(
                    name=experiment.name,
                    domain=experiment.domain,
                    design=asdict(experiment),
                    state=made.state,
                    percent=percent,
                    weights=weights,
                    kept={},
                    start=start,
                    created=made.created,
                    moved=made.moved,
                )
            )
            _note(connection, experiment.name, "create", {}, made.standing, why)
        return made

    def set_stage(self, name: str, percent: float, why: Why = UNSAID) -> Entry:
        """Give the arms under test this much of the traffic, which must be one of the stages."""
        experiment = self.entry(name).experiment
        if percent not in experiment.stages:
            raise RefusedMove(f"{name} has the stages {list(experiment.stages)}, not {percent:g}")
        return self._reweigh(name, "stage", percent, experiment.weights_at(percent), why)

    def set_weights(self, name: str, weights: Mapping[str, float], why: Why = UNSAID) -> Entry:
        """Split by other weights, one for each arm."""
        experiment = self.entry(name).experiment
        if weights.keys() != {arm.name for arm in experiment.arms}:
            raise RefusedMove(f"weights name {sorted(weights)}, not the arms of {name}")
        checked = [asdict(arm) | {"weight": weights[arm.name]} for arm in experiment.arms]
        read_experiment({"name": name, "domain": experiment.domain, "arms": checked})
        return self._reweigh(name, "weights", None, dict(weights), why)

    def freeze(self, name: str, why: Why = UNSAID) -> Entry:
        """Let an experiment go on as it is, without moves, until it is thawed."""
        return self._move(name, "freeze", why, (State.RUNNING,), state=State.FROZEN)

    def thaw(self, name: str, why: Why = UNSAID) -> Entry:
        """Let a frozen experiment move again."""
        return self._move(name, "thaw", why, (State.FROZEN,), state=State.RUNNING)

    def stop(self, name: str, why: Why = UNSAID) -> Entry:
        """End an experiment; its units return to the champion, running conversations too."""
        live = (State.RUNNING, State.FROZEN)
        return self._move(name, "stop", why, live, state=State.STOPPED, stopped=now(), kept={})

    def settle(self, name: str) -> int:
        """Look again for conversations that began by the weights of before the last move; returns
        how many are kept now. Call it a few seconds after a move; it is none itself."""
        entry = self.entry(name)
        kept = self._conversations(entry.split)
        if kept != entry.kept and entry.state is not State.STOPPED:
            with self._store.change() as connection:
                connection.execute(_update(name).values(kept=kept))
        return len(kept)

    def entry(self, name: str) -> Entry:
        """One experiment by name; raises UnknownExperiment."""
        with self._store.transaction() as connection:
            return _entry(connection, name)

    def entries(self) -> list[Entry]:
        """Every experiment, oldest first."""
        with self._store.transaction() as connection:
            return _entries(connection)

    def running(self) -> dict[str, tuple[Split, ...]]:
        """How the traffic of each domain is split now."""
        splits: dict[str, tuple[Split, ...]] = {}
        for entry in self.entries():
            if entry.state is not State.STOPPED:
                domain = entry.experiment.domain
                splits[domain] = (*splits.get(domain, ()), entry.split)
        return splits

    def moves(self, name: str) -> list[dict[str, Any]]:
        """The audit log of an experiment, oldest first."""
        query = (
            select(tables.experiment_moves)
            .where(tables.experiment_moves.c.experiment == name)
            .order_by(tables.experiment_moves.c.id)
        )
        with self._store.transaction() as connection:
            rows = [row._mapping for row in connection.execute(query)]
        return [{item: row[item] for item in _TOLD} for row in rows]

    def _reweigh(
        self, name: str, kind: str, percent: float | None, weights: dict[str, float], why: Why
    ) -> Entry:
        entry = self.entry(name)
        if problems := _limit_problems(entry.experiment, weights):
            raise RefusedMove(f"{name}: {'; '.join(problems)}")
        # By the new weights alone, so another move meanwhile makes it wrong for no longer than
        # that move's own look.
        kept = self._conversations(Split(entry.experiment, weights, entry.start))
        running = (State.RUNNING,)
        return self._move(name, kind, why, running, percent=percent, weights=weights, kept=kept)

    def _move(
        self, name: str, kind: str, why: Why, allowed: tuple[State, ...], **values: Any
    ) -> Entry:
        with self._store.change() as connection:
            before = _entry(connection, name)
            if before.state not in allowed:
                raise RefusedMove(f"{name} is {before.state}: no {kind} from there")
            connection.execute(_update(name).values(**values, moved=now()))
            after = _entry(connection, name)
            _note(connection, name, kind, before.standing, after.standing, why)
        return after

    def _conversations(self, split: Split) -> Kept:
        with self._store.transaction() as connection:
            return running_conversations(connection, split)

    def _arm_problems(self, experiment: Experiment) -> list[str]:
        known = {version.name: version for version in self._registry.versions(experiment.domain)}
        problems = []
        for position, arm in enumerate(experiment.arms):
            version = known.get(arm.model)
            if arm.model != BASE_ARM and version is None:
                problems.append(
                    f"arms.{position}.model: {arm.model!r} is neither `base` nor a version of "
                    f"{experiment.domain}"
                )
            elif version is not None and version.retired:
                problems.append(f"arms.{position}.model: {arm.model} is retired")
        return problems


def _limit_problems(experiment: Experiment, weights: Mapping[str, float]) -> list[str]:
    percent, most = experiment.percent_of(weights), experiment.limits.percent
    if percent <= most + 1e-9:
        return []
    return [f"limits.percent: {percent:g} % for the arms under test, the most is {most:g} %"]


def _note(
    connection: Connection,
    name: str,
    kind: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    why: Why,
) -> None:
    values = {"experiment": name, "kind": kind, "before": before, "after": after, **asdict(why)}
    connection.execute(insert(tables.experiment_moves).values(at=now(), **values))


def _update(name: str) -> Any:
    return update(tables.experiments).where(tables.experiments.c.name == name)


def _entry(connection: Connection, name: str) -> Entry:
    query = select(tables.experiments).where(tables.experiments.c.name == name)
    row = connection.execute(query).first()
    if row is None:
        raise UnknownExperiment(f"no experiment {name!r}; `turnout experiments list` shows them")
    return Entry.of(row)


def _entries(connection: Connection) -> list[Entry]:
    query = select(tables.experiments).order_by(
        tables.experiments.c.created, tables.experiments.c.name
    )
    return [Entry.of(row) for row in connection.execute(query)]
