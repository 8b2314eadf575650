"""The rollout at work, on a real store: simulated users with a known truth, and what it makes of
them."""

import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from adapters import tables
from adapters.errors import InvalidExperiment, RefusedMove
from adapters.experiments.analysis import analyse
from adapters.experiments.assignment import Subject
from adapters.experiments.book import ExperimentBook
from adapters.experiments.entry import Entry, State, Why
from adapters.experiments.metrics import measure
from adapters.experiments.policy import Act
from adapters.experiments.report import Outcome
from adapters.experiments.watch import LEASE, Watch
from adapters.interactions import Feedback, Interaction, unit_digest
from adapters.registry import Aliases, Registry
from adapters.store import Store
from tests.adapters.experiments.designs import design
from tests.adapters.folders import facts, write_adapter
from tests.adapters.test_store import interaction, records

STAGES = [10, 25, 50, 100]
LIMITS = {"stage_hours": 0, "stage_units": 20}


class World:
    """A domain with a champion and a challenger, and users who like them as often as `rates` says.

    `thumbs`: the part of the answers that get feedback.
    """

    def __init__(self, store: Store, registry: Registry, folder: Path) -> None:
        self.store, self.registry = store, registry
        self.book = ExperimentBook(store, registry)
        self.watch = Watch(store, self.book)
        self.random = np.random.default_rng(7)
        self.users = 0
        self.thumbs = 1.0
        versions = []
        for seed in (1, 2):
            staged = write_adapter(folder / f"staged-{seed}", seed=seed)
            versions.append(registry.publish("legal", staged, facts("pass")).version)
        self.old, self.new = versions
        registry.promote(self.old, actor="test")
        registry.challenge(self.new, actor="test")

    def begin(self, **changes: Any) -> Entry:
        arms = [{"name": "control", "model": self.old}, {"name": "new", "model": self.new}]
        return self.book.begin(
            design(
                **{"arms": arms, "stages": STAGES, "limits": LIMITS, "guardrails": [], **changes}
            )
        )

    def ask(self, users: int, rates: dict[str, float]) -> Counter[str]:
        """New users, one answer each; returns how many got which arm."""
        split, said = self.book.entry("e").split, []
        seen: Counter[str] = Counter()
        for number in range(self.users, self.users + users):
            unit = unit_digest(f"user{number}")
            enrolment = split.enrol(Subject(unit, "key", session=f"user{number}"))
            assert enrolment is not None and enrolment.assignment is not None
            arm = enrolment.assignment.arm.name
            seen[arm] += 1
            said += self._answered(f"i{number}", unit, arm, enrolment.assignment.propensity, rates)
        self.users += users
        self.store.take(records(*said))
        return seen

    def _answered(
        self, receipt: str, unit: str, arm: str, propensity: float, rates: dict[str, float]
    ) -> list[Interaction | Feedback]:
        answer = interaction(
            receipt,
            created=time.time(),
            experiment="e",
            arm=arm,
            arm_propensity=propensity,
            standing="assigned",
            experiment_unit=unit,
            unit=unit,
            session=receipt.replace("i", "user"),
            exposed=True,
        )
        if self.random.random() >= self.thumbs:
            return [answer]
        value = bool(self.random.random() < rates[arm])
        return [answer, Feedback(f"f-{receipt}", receipt, time.time(), "thumb", value)]

    def look(self) -> Act:
        return self.watch.look(self.book.entry("e")).step.act

    def run(self, rates: dict[str, float], most: int = 40, batch: int = 100) -> list[Counter[str]]:
        """Batches of users, a look after each, until the experiment is over."""
        batches = []
        for _ in range(most):
            batches.append(self.ask(batch, rates))
            self.look()
            if self.book.entry("e").state is State.STOPPED:
                return batches
        raise AssertionError(f"not over after {most * batch} users: {self.book.moves('e')}")

    @property
    def kinds(self) -> list[str]:
        return [move["kind"] for move in self.book.moves("e")]

    @property
    def aliases(self) -> Aliases:
        return self.registry.aliases()["legal"]


@pytest.fixture
def world(store: Store, registry: Registry, tmp_path: Path) -> World:
    return World(store, registry, tmp_path)


def test_a_worse_challenger_is_rolled_back_by_itself(world: World) -> None:
    world.begin(metric={"minimum_effect": 0.2})
    batches = world.run({"control": 0.8, "new": 0.3})
    assert world.kinds[0] == "create" and world.kinds[-1] == "rollback"
    assert set(world.kinds[1:-1]) <= {"stage"}
    assert (world.aliases.champion, world.aliases.challenger) == (world.old, None)
    last = world.book.moves("e")[-1]
    assert last["actor"] == "rollout" and "new is worse than control: thumb 0." in last["reason"]
    shown = last["evidence"]
    assert shown["outcome"] == "worse" and shown["interval"][1] < 0
    assert shown["effect"] == pytest.approx(-0.5, abs=0.2)
    # It never had more than its stage's share, and harmed a bounded number of users.
    assert all(batch["new"] <= 50 * 1.35 for batch in batches)
    assert sum(batch["new"] for batch in batches) < 250


def test_a_better_challenger_is_promoted_by_itself(world: World) -> None:
    world.begin(metric={"minimum_effect": 0.2})
    world.run({"control": 0.3, "new": 0.8})
    assert world.kinds[-1] == "promote"
    assert world.aliases == Aliases(world.new, None, (world.old,))
    entry = world.book.entry("e")
    assert (entry.state, entry.weights) == (State.STOPPED, {"control": 0.0, "new": 1.0})
    # What it decided by can be looked at again.
    report = analyse(entry, measure(world.store, entry), world.book.moves("e"))
    assert report.verdict("new").outcome is Outcome.BETTER and not report.mismatched
    # Conversations that began with the old one end with it; everybody else is in no experiment.
    split = world.book.running()["legal"][0]
    began = next(s for s in (f"user{n}" for n in range(50)) if unit_digest(s) in entry.kept)
    going_on = split.enrol(Subject(unit_digest(began), "key", session=began))
    assert going_on and going_on.assignment and going_on.assignment.arm.model == world.old
    assert split.enrol(Subject("u", "key", session="somebody else")) is None


def test_an_equal_challenger_is_not_promoted(world: World) -> None:
    world.begin(metric={"minimum_effect": 0.2})
    world.run({"control": 0.5, "new": 0.5})
    assert world.kinds[-1] == "stop" and world.aliases.champion == world.old
    assert world.book.moves("e")[-1]["reason"].startswith("the planned information has come; not")


def test_a_promotion_that_was_cut_off_is_finished_by_the_next_look(world: World) -> None:
    world.begin(metric={"minimum_effect": 0.2})
    world.ask(150, {"control": 0.1, "new": 0.9})
    world.registry.promote(world.new, actor="rollout")  # and then it was killed
    world.run({"control": 0.1, "new": 0.9})
    assert world.kinds[-1] == "promote" and world.aliases.champion == world.new


def test_the_base_model_may_win(world: World) -> None:
    arms = [{"name": "adapter", "model": world.old}, {"name": "base", "model": "base"}]
    world.begin(arms=arms, metric={"minimum_effect": 0.2})
    world.run({"adapter": 0.2, "base": 0.8})
    assert world.aliases == Aliases(None, world.new, (world.old,))
    assert world.registry.rollback("legal", actor="test") == world.old


def test_a_bad_arm_is_dropped_and_the_others_go_on(world: World) -> None:
    arms = [
        {"name": "control", "model": world.old},
        {"name": "new", "model": world.new},
        {"name": "base", "model": "base"},
    ]
    world.begin(arms=arms, metric={"minimum_effect": 0.2}, stages=[50, 60, 100])
    world.run({"control": 0.5, "new": 0.1, "base": 0.9})
    assert "drop" in world.kinds and world.kinds[-1] == "promote"
    dropped = next(move for move in world.book.moves("e") if move["kind"] == "drop")
    assert dropped["after"]["weights"]["new"] == 0
    assert dropped["after"]["weights"]["control"] == dropped["before"]["weights"]["control"]
    assert world.aliases.champion is None


def test_a_bandit_moves_traffic_to_the_better_arm_and_ends_by_its_verdict(world: World) -> None:
    world.begin(stages=[], allocation="thompson", metric={"minimum_effect": 0.1})
    batches = world.run({"control": 0.4, "new": 0.6})
    weights = [m["after"]["weights"] for m in world.book.moves("e") if m["kind"] == "weights"]
    assert weights and weights[-1]["new"] > 0.8 and all(min(w.values()) >= 0.05 for w in weights)
    assert batches[-1]["new"] > 70 > batches[0]["new"]
    assert world.kinds[-1] == "promote" and world.aliases.champion == world.new


def test_a_frozen_bandit_stays_as_it_is(world: World) -> None:
    world.begin(stages=[], allocation="thompson")
    world.ask(200, {"control": 0.3, "new": 0.7})
    world.book.freeze("e", Why("ann"))
    assert world.look() is Act.HOLD
    assert world.kinds == ["create", "freeze"]


def test_a_wrong_split_freezes_and_stays_frozen(world: World) -> None:
    world.begin(stages=[], metric={"minimum_effect": 0.2})
    lost = {"control": 1.0, "new": 0.6}  # a part of the new arm's answers is never recorded
    for number in range(1500):
        arm = "new" if number % 2 else "control"
        if world.random.random() < lost[arm]:
            said = world._answered(
                f"i{number}", f"u{number}", arm, 0.5, {"control": 0.2, "new": 0.9}
            )
            world.store.take(records(*said))
    assert world.look() is Act.FREEZE
    assert world.book.entry("e").state is State.FROZEN
    assert "units are not split as promised" in world.book.moves("e")[-1]["reason"]
    assert world.look() is Act.HOLD
    world.book.thaw("e", Why("ann", "I know why"))
    assert world.look() is Act.FREEZE


def test_missing_feedback_freezes_until_it_comes_again(world: World) -> None:
    same = {"control": 0.5, "new": 0.5}
    world.begin(stages=[50, 100], metric={"minimum_effect": 0.05})
    world.ask(200, same)
    assert world.look() is Act.HOLD
    world.thumbs = 0.0
    world.ask(200, same)
    assert world.look() is Act.FREEZE
    assert world.book.moves("e")[-1]["evidence"] == {"cause": "missing_data"}
    assert world.look() is Act.HOLD
    world.thumbs = 1.0
    world.ask(20, same)
    assert world.look() is Act.THAW
    assert world.book.entry("e").state is State.RUNNING


def test_a_person_who_wants_to_agree_is_asked_once(world: World) -> None:
    world.begin(metric={"minimum_effect": 0.2}, limits={**LIMITS, "approval": True})
    rates = {"control": 0.1, "new": 0.9}
    acts = []
    for _ in range(12):
        world.ask(100, rates)
        acts.append(world.look())
    assert acts.count(Act.PROPOSE) == 1 and acts[-1] is Act.HOLD
    assert world.aliases.champion == world.old
    world.book.promote("e", "new", Why("ann", "I agree"))
    assert world.aliases.champion == world.new
    with pytest.raises(RefusedMove, match="stopped"):
        world.book.promote("e", "new", Why("ann"))


def test_a_version_that_may_not_serve_is_proposed(world: World) -> None:
    world.begin(metric={"minimum_effect": 0.2}, stages=[50, 100])
    world.ask(200, {"control": 0.1, "new": 0.9})
    world.registry.retire(world.new, actor="ann")
    assert world.look() is Act.PROMOTE
    assert world.kinds == ["create", "propose"]
    assert "is retired" in world.book.moves("e")[-1]["reason"]
    world.look()
    assert world.kinds == ["create", "propose"] and world.aliases.champion == world.old


def test_after_a_rollback_the_domain_cools_down(world: World) -> None:
    world.begin()
    world.book.roll_back("e", Why("ann"))
    again = design(
        name="again",
        arms=[{"name": "a", "model": world.old}, {"name": "b", "model": world.new}],
        stages=STAGES,
    )
    with pytest.raises(InvalidExperiment, match=r"'e' was rolled back, 24 hours have to pass, 24"):
        world.book.begin(again)
    assert world.book.begin(again, force=True).percent == 10
    with pytest.raises(InvalidExperiment, match="room|layer"):
        world.book.begin(design(name="fixed"))


def test_one_process_at_a_time_watches(world: World, store: Store) -> None:
    world.begin()
    assert [look.experiment for look in world.watch.round()] == ["e"]
    assert world.watch.round() == []  # not due yet
    other = Watch(store, world.book, every=1.0, holder="another host")
    assert other.round() == []
    assert store.lease(LEASE, "another host", 60) is False
    world.watch.close()
    assert [look.experiment for look in other.round()] == ["e"]


def test_conversations_begun_while_a_move_spread_are_kept_as_well(world: World) -> None:
    world.begin(stages=[50, 60])
    split = world.book.entry("e").split
    world.book.set_stage("e", 60.0)
    after = world.book.entry("e").split
    units = (unit_digest(f"late{n}") for n in range(1000))
    unit = next(u for u in units if split.assign(u).arm.name != after.assign(u).arm.name)
    late = world._answered("i1", unit, "control", 0.5, {"control": 0.5})
    world.store.take(records(*late))
    assert world.watch.round() and world.book.entry("e").kept == {}  # it is not settled yet
    a_while_ago = datetime.fromtimestamp(time.time() - 5, UTC).isoformat()
    with world.store.change() as connection:
        connection.execute(update(tables.experiments).values(moved=a_while_ago))
    world.watch.round()
    assert world.book.entry("e").kept == {unit_digest("user1"): ("control", 0.5)}


def test_a_look_is_kept(world: World) -> None:
    world.begin()
    assert world.book.last_look("e") is None
    world.ask(100, {"control": 0.5, "new": 0.5})
    world.look()
    look = world.book.last_look("e")
    assert look is not None and look["step"]["act"] == "hold"
    assert look["report"]["experiment"] == "e" and look["pulses"]["control"]["told"] > 50
