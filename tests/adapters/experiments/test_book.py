"""Experiments are begun, moved and ended, each with its line in the audit log."""

import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from adapters.artifacts import Artifacts
from adapters.errors import InvalidExperiment, RefusedMove, UnknownExperiment
from adapters.experiments.assignment import Subject
from adapters.experiments.book import ExperimentBook
from adapters.experiments.entry import State, Why
from adapters.interactions import unit_digest
from adapters.registry import Registry
from adapters.store import Store
from tests.adapters.experiments.designs import ARMS, design
from tests.adapters.folders import facts, write_adapter
from tests.adapters.test_store import interaction, migrate, records


@pytest.fixture
def book(store: Store, registry: Registry) -> ExperimentBook:
    return ExperimentBook(store, registry)


def test_an_experiment_comes_back_as_it_was_begun(book: ExperimentBook, store: Store) -> None:
    before = store.revision()
    made = design(
        stages=[5, 50],
        unit="user",
        holdout=0.1,
        slices=["metadata.tier"],
        eligibility={"metadata": {"tier": ["free"]}},
        metric={"name": "stars", "kind": "mean", "margin": 0.2},
        limits={"units": 5000, "approval": True},
    )
    entry = book.begin(made, Why("ann", "first try"))
    assert book.entry("e") == entry and entry.experiment == made
    assert (entry.percent, entry.weights) == (5, {"control": 0.95, "new": 0.05})
    assert store.revision() == before + 1
    (move,) = book.moves("e")
    assert (move["kind"], move["actor"], move["reason"]) == ("create", "ann", "first try")
    assert move["after"]["percent"] == 5


def test_moves_are_made_and_written_down(book: ExperimentBook) -> None:
    book.begin(design(stages=[1, 50, 100]))
    book.set_stage("e", 50, Why("rollout", "better", {"effect": 0.07}))
    assert book.running()["legal"][0].weights == {"control": 0.5, "new": 0.5}
    book.freeze("e", Why("rollout", "sample ratio"))
    with pytest.raises(RefusedMove, match="e is frozen"):
        book.set_stage("e", 100)
    assert "legal" in book.running()
    book.thaw("e")
    book.set_weights("e", {"control": 1, "new": 3})
    assert book.entry("e").shares == {"control": 25, "new": 75}
    book.stop("e", Why("ann"))
    assert book.running() == {} and book.entry("e").state is State.STOPPED
    for again in (book.stop, book.freeze, book.thaw):
        with pytest.raises(RefusedMove, match="e is stopped"):
            again("e")
    moves = book.moves("e")
    assert [move["kind"] for move in moves] == [
        *("create", "stage", "freeze", "thaw", "weights", "stop")
    ]
    assert moves[1]["evidence"] == {"effect": 0.07}
    assert (moves[1]["before"]["percent"], moves[1]["after"]["percent"]) == (1, 50)


def test_moves_that_make_no_sense_are_refused(book: ExperimentBook) -> None:
    book.begin(design(stages=[1, 50, 100], limits={"percent": 60}))
    for percent, said in ((7.0, "stages"), (100.0, "the most is 60 %"), (float("nan"), "stages")):
        with pytest.raises(RefusedMove, match=said):
            book.set_stage("e", percent)
    for weights in ({"control": 1}, {"control": 1, "other": 1}, {"control": 1, "new": 9}):
        with pytest.raises(RefusedMove):
            book.set_weights("e", weights)
    with pytest.raises(InvalidExperiment, match="weight"):
        book.set_weights("e", {"control": float("inf"), "new": 1})
    with pytest.raises(UnknownExperiment):
        book.stop("absent")
    assert [move["kind"] for move in book.moves("e")] == ["create"]


def test_what_cannot_be_served_is_refused_with_every_reason(
    book: ExperimentBook, registry: Registry, tmp_path: Path
) -> None:
    version = registry.publish("legal", write_adapter(tmp_path / "a"), facts()).version
    registry.retire(version, actor="test")
    book.begin(design())
    arms = [{**ARMS[0], "model": "general"}, {**ARMS[1], "model": version, "weight": 9}]
    with pytest.raises(InvalidExperiment) as caught:
        book.begin(design(arms=arms, limits={"percent": 50}))
    for part in (
        "arms.0.model: 'general' is neither `base` nor a version of legal",
        f"arms.1.model: {version} is retired",
        "limits.percent: 90 %",
        "name: an experiment 'e' exists",
        "layer: e leave 0 of layer 'legal', 1 is wanted",
    ):
        assert part in str(caught.value)


def test_a_layer_holds_as_much_as_it_has_room_for(book: ExperimentBook) -> None:
    def begin(name: str, share: float, **more: object) -> float:
        return book.begin(design(name=name, layer={"name": "l", "share": share}, **more)).start

    assert [begin("a", 0.5), begin("b", 0.3), begin("c", 0.2)] == pytest.approx([0, 0.5, 0.8])
    with pytest.raises(InvalidExperiment, match="a, b, c leave"):
        begin("d", 0.1)
    book.stop("b")
    with pytest.raises(InvalidExperiment, match="leave 0.3 of layer 'l', 0.4 is wanted"):
        begin("d", 0.4)
    with pytest.raises(InvalidExperiment, match="'a' in layer 'l' assigns by session"):
        begin("d", 0.2, unit="user")
    with pytest.raises(InvalidExperiment, match="'a' runs on legal in layer 'l'"):
        book.begin(design(name="d"))
    assert begin("d", 0.3) == 0.5
    assert len(book.running()["legal"]) == 3


def test_a_running_conversation_keeps_its_arm_when_weights_move(
    book: ExperimentBook, store: Store
) -> None:
    entry = book.begin(design(unit="user", stages=[50, 100]))

    def asks(user: str, session: str | None, age: float = 60.0) -> str:
        """One answered request; returns its arm."""
        subject = Subject(unit_digest(session or user), "key_1", session, user)
        one = book.entry("e").split.enrol(subject)
        assert one and one.assignment
        answered = interaction(
            f"{user}-{session}-{time.time()}",
            created=time.time() - age,
            session=session,
            experiment="e",
            arm=one.assignment.arm.name,
            arm_propensity=one.assignment.propensity,
            experiment_unit=one.unit,
        )
        store.take(records(answered))
        return one.assignment.arm.name

    users = [f"user{n}" for n in range(40)]
    before = {user: asks(user, f"s-{user}") for user in users}
    asks("user0", "long-ago", age=7200)
    moved = book.set_stage("e", 100.0)
    controls = sorted(unit_digest(f"s-{user}") for user in users if before[user] == "control")
    assert len(controls) > 10 and sorted(moved.kept) == controls
    assert {user: asks(user, f"s-{user}") for user in users} == before
    assert {asks(user, f"later-{user}") for user in users} == {"new"}
    # What reached the store after the move: a gateway still had the old weights.
    late = next(user for user in users if before[user] == "control")
    store.take(
        records(
            interaction(
                "late",
                created=time.time(),
                session="begun-late",
                experiment="e",
                arm="control",
                arm_propensity=0.5,
                experiment_unit=unit_digest(late),
            )
        )
    )
    assert asks(late, "other") == "new"
    assert book.settle("e") == len(controls) + 1
    assert asks(late, "begun-late") == "control"
    assert entry.kept == {} and book.moves("e")[-1]["after"]["kept"] == len(controls)


def test_experiments_of_before_go_on_as_they_were(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    migrate(url, "0002")
    arms = '[{"name": "control", "model": "base", "weight": 1.0}, '
    arms += '{"name": "new", "model": "legal--v1-00000000", "weight": 3.0}]'
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for name, stopped in (("old", "'2026-01-02T00:00:00Z'"), ("live", "NULL")):
            connection.execute(
                sa.text(
                    "INSERT INTO experiments (name, domain, salt, arms, created, stopped) VALUES "
                    f"('{name}', 'legal', 's', :arms, '2026-01-01T00:00:00Z', {stopped})"
                ),
                {"arms": arms},
            )
    engine.dispose()
    store = Store(url)
    book = ExperimentBook(store, Registry(store, Artifacts(tmp_path / "a", tmp_path / "c")))
    live, old = book.entries()
    assert (live.state, old.state) == (State.RUNNING, State.STOPPED)
    assert live.shares == {"control": 25, "new": 75} and live.experiment.salt == "s"
    # As the code of before assigned u0 to u9.
    assigned = [live.split.assign(f"u{n}").arm.name[0] for n in range(10)]
    assert "".join(assigned) == "ccnccnncnc"
    book.stop("live")
    store.close()
