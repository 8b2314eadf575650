"""The experiments on record: begun, moved, ended, and why. Who is assigned is `assignment`'s."""

import time
from collections.abc import Callable, Container, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import insert, select

from adapters import tables
from adapters.errors import InvalidExperiment, RefusedMove
from adapters.experiments.admission import cooling, limit_problems
from adapters.experiments.assignment import Split
from adapters.experiments.conversations import Kept, running_conversations
from adapters.experiments.design import BASE_ARM, Experiment
from adapters.experiments.entry import UNSAID, Entry, State, Why
from adapters.experiments.layers import free_start
from adapters.experiments.reading import read_experiment
from adapters.experiments.rows import all_entries, changing, entry_of, note
from adapters.experiments.shelf import Shelf
from adapters.registry import Aliases, Registry
from adapters.store import Store, now

_LIVE = (State.RUNNING, State.FROZEN)
_TOLD = ("at", "kind", "before", "after", "evidence", "actor", "reason")


class ExperimentBook:
    """Reads and writes experiments; refuses those that make no sense, with the reasons. Every
    change is one transaction, its line in the audit log included.

    Args:
        shelf: says what beside adapter versions may be an arm just now; by default nothing.
    """

    def __init__(
        self, store: Store, registry: Registry, shelf: Callable[[], Shelf] = Shelf
    ) -> None:
        self._store = store
        self._registry = registry
        self._shelf = shelf

    def begin(self, experiment: Experiment, why: Why = UNSAID, *, force: bool = False) -> Entry:
        """Start an experiment on its domain's traffic, at its first stage. `force` overrides the
        gate's verdict and the cool-down after a rollback.

        Raises:
            InvalidExperiment: a name that was used, an arm that cannot serve the domain, or no
                room beside the experiments that run.
        """
        percent = experiment.stages[0] if experiment.stages else None
        weights = (
            {arm.name: arm.weight for arm in experiment.live}
            if percent is None
            else experiment.weights_at(percent)
        )
        versions = self._registry.versions(experiment.domain)
        problems = self._shelf().problems(experiment, versions, ungated=force)
        problems += limit_problems(experiment, weights)
        with self._store.change() as connection:
            entries = all_entries(connection)
            if any(entry.experiment.name == experiment.name for entry in entries):
                problems.append(
                    f"name: an experiment {experiment.name!r} exists; names are not used twice"
                )
            if experiment.stages and not force:
                problems += cooling(connection, experiment.domain, entries)
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
            note(connection, experiment.name, "create", {}, made.standing, why)
        return made

    def set_stage(self, name: str, percent: float, why: Why = UNSAID) -> Entry:
        """Give the arms under test this much of the traffic, which must be one of the stages."""
        entry = self.entry(name)
        experiment = entry.experiment
        if percent not in experiment.stages:
            raise RefusedMove(f"{name} has the stages {list(experiment.stages)}, not {percent:g}")
        weights = experiment.weights_at(percent, entry.dropped)
        return self._reweigh(name, "stage", percent, weights, why)

    def set_weights(self, name: str, weights: Mapping[str, float], why: Why = UNSAID) -> Entry:
        """Split by other weights, one for each arm."""
        experiment = self.entry(name).experiment
        if weights.keys() != {arm.name for arm in experiment.live}:
            raise RefusedMove(f"weights name {sorted(weights)}, not the arms of {name}")
        checked = [asdict(arm) | {"weight": weights[arm.name]} for arm in experiment.live]
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
        end = {"state": State.STOPPED, "stopped": now(), "kept": {}}
        return self._move(name, "stop", why, _LIVE, **end)

    def drop(self, name: str, arm: str, why: Why = UNSAID) -> Entry:
        """Take one arm under test out, running conversations too; the others share what it had."""
        entry = self.entry(name)
        experiment = entry.experiment
        gone = entry.dropped | {arm}
        if not {a.name for a in experiment.live[1:]} - gone:
            raise RefusedMove(f"{name}: no arm under test is left without {arm}; roll it back")
        weights = experiment.weights_at(experiment.percent_of(entry.weights), gone)
        return self._reweigh(name, "drop", entry.percent, weights, why, without=gone)

    def promote(self, name: str, arm: str, why: Why = UNSAID) -> Entry:
        """End an experiment with `arm` as what serves its domain; conversations that run elsewhere
        go on there until they are over.

        Raises RefusedMove for an arm that is more than a version or the base model: what else it
        changes is configuration, which is a person's.
        """
        entry = self.entry(name)
        experiment = entry.experiment
        chosen = next((one for one in experiment.live if one.name == arm), None)
        if chosen is None:
            raise RefusedMove(f"{name} has the arms {[one.name for one in experiment.live]}")
        if problem := experiment.by_hand(chosen):
            raise RefusedMove(f"{name}: {problem}")
        if entry.state is State.STOPPED:
            raise RefusedMove(f"{name} is stopped: no promote from there")
        # First what serves: after a crash between the two, the next look comes to the same end.
        self._serve(experiment.domain, chosen.model, why)
        weights = {one.name: float(one is chosen) for one in experiment.live}
        kept = self._conversations(Split(experiment, weights, entry.start), entry.dropped)
        end = {"state": State.STOPPED, "stopped": now(), "weights": weights, "kept": kept}
        return self._move(name, "promote", why, _LIVE, **end)

    def roll_back(self, name: str, why: Why = UNSAID) -> Entry:
        """End an experiment because of what its arms under test do; every unit returns to the
        champion at once, and no challenger is left."""
        experiment = self.entry(name).experiment
        for arm in experiment.live[1:]:
            if arm.model != BASE_ARM and not experiment.by_hand(arm):
                self._registry.withdraw(arm.model, actor=why.actor, reason=why.reason)
        end = {"state": State.STOPPED, "stopped": now(), "kept": {}}
        return self._move(name, "rollback", why, _LIVE, **end)

    def propose(self, name: str, why: Why) -> Entry:
        """Note what the data ask for and a person has to do; nothing moves."""
        return self._move(name, "propose", why, _LIVE)

    def looked(self, name: str, report: Mapping[str, Any]) -> None:
        """Keep what a look found, in place of the look before."""
        with self._store.transaction() as connection:
            connection.execute(changing(name).values(report=report, looked=time.time()))

    def last_look(self, name: str) -> dict[str, Any] | None:
        """What the last look found; None before the first."""
        query = select(tables.experiments.c.report).where(tables.experiments.c.name == name)
        with self._store.transaction() as connection:
            found: dict[str, Any] | None = connection.execute(query).scalar()
        return found

    def settle(self, name: str) -> int:
        """Look again for conversations that began by the weights of before the last move; returns
        how many are kept now. Call it a few seconds after a move; it is none itself."""
        entry = self.entry(name)
        kept = self._conversations(entry.split, entry.dropped)
        if kept != entry.kept and entry.state is not State.STOPPED:
            with self._store.change() as connection:
                connection.execute(changing(name).values(kept=kept))
        return len(kept)

    def entry(self, name: str) -> Entry:
        """One experiment by name; raises UnknownExperiment."""
        with self._store.transaction() as connection:
            return entry_of(connection, name)

    def entries(self) -> list[Entry]:
        """Every experiment, oldest first."""
        with self._store.transaction() as connection:
            return all_entries(connection)

    def live(self) -> list[Entry]:
        """The experiments that are not over, oldest first."""
        over = tables.experiments.c.state == State.STOPPED
        with self._store.transaction() as connection:
            return all_entries(connection, ~over)

    def running(self) -> dict[str, tuple[Split, ...]]:
        """How the traffic of each domain is split now: first the conversations of experiments that
        are over, then those that run."""
        splits: dict[str, tuple[Split, ...]] = {}
        for entry in sorted(self.entries(), key=lambda entry: entry.state is not State.STOPPED):
            split, domain = entry.split, entry.experiment.domain
            if split.until is None or (split.kept and time.time() < split.until):
                splits[domain] = (*splits.get(domain, ()), split)
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
        self,
        name: str,
        kind: str,
        percent: float | None,
        weights: dict[str, float],
        why: Why,
        without: Container[str] = (),
    ) -> Entry:
        entry = self.entry(name)
        if problems := limit_problems(entry.experiment, weights):
            raise RefusedMove(f"{name}: {'; '.join(problems)}")
        # By the new weights alone, so another move meanwhile makes it wrong for no longer than
        # that move's own look.
        without = without or entry.dropped
        kept = self._conversations(Split(entry.experiment, weights, entry.start), without)
        running = (State.RUNNING,)
        return self._move(name, kind, why, running, percent=percent, weights=weights, kept=kept)

    def _move(
        self, name: str, kind: str, why: Why, allowed: tuple[State, ...], **values: Any
    ) -> Entry:
        with self._store.change() as connection:
            before = entry_of(connection, name)
            if before.state not in allowed:
                raise RefusedMove(f"{name} is {before.state}: no {kind} from there")
            connection.execute(changing(name).values(**values, moved=now()))
            after = entry_of(connection, name)
            note(connection, name, kind, before.standing, after.standing, why)
        return after

    def _serve(self, domain: str, model: str, why: Why) -> None:
        champion = self._registry.aliases().get(domain, Aliases()).champion
        if model == BASE_ARM and champion is not None:
            self._registry.demote(domain, actor=why.actor, reason=why.reason)
        elif model not in (BASE_ARM, champion):
            self._registry.promote(model, actor=why.actor, reason=why.reason)

    def _conversations(self, split: Split, without: Container[str]) -> Kept:
        with self._store.transaction() as connection:
            found = running_conversations(connection, split)
        return {session: goes for session, goes in found.items() if goes[0] not in without}
