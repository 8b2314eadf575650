"""A triggered run's version gets its rollout without anybody asking."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.artifacts import Artifacts
from adapters.experiments.book import ExperimentBook
from adapters.experiments.entry import Why
from adapters.experiments.plan import Plan
from adapters.job import TRIGGER, EventKind, TrainingRequest
from adapters.jobs import JobBook
from adapters.registry import Registry
from adapters.store import Store
from gateway.configuration import ConfigurationError, load
from tests.adapters.folders import facts, write_adapter
from training.service.queue import Queue
from training.service.succession import ACTOR, Succession


class World:
    """A store with a registry, in which jobs make versions."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(f"sqlite:///{folder}/turnout.db")
        self.registry = Registry(self.store, Artifacts(str(folder / "artifacts"), folder / "cache"))
        self.experiments = ExperimentBook(self.store, self.registry)
        self._folder = folder
        self._versions = 0

    def version(self) -> str:
        self._versions += 1
        staged = write_adapter(self._folder / f"staged-{self._versions}", seed=self._versions)
        return self.registry.publish("legal", staged, facts("pass")).version

    def trained(self, owner: str = TRIGGER) -> str:
        """A challenger, made by a job of this owner."""
        version = self.version()
        request = TrainingRequest("legal", "legal", from_log=True)
        made = JobBook(self.store).add(request, owner)
        queue = Queue(self.store, "test", 60)
        assert queue.claim() is not None
        self.registry.challenge(version, actor="test")
        assert queue.succeed(made.id, version, "better", 1)
        return version

    def look(self, **plan: Any) -> list[str]:
        looking = Succession(self.store, self.registry, Plan(**plan), ["legal", "medical"])
        return [design.name for design in looking.look()]

    def said(self) -> list[str]:
        book = JobBook(self.store)
        newest = book.jobs(limit=1)[0]
        return [event.message for event in book.events(newest.id, (EventKind.MESSAGE,), limit=10)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


def test_a_triggered_version_is_rolled_out_against_the_champion(world: World) -> None:
    champion = world.version()
    world.registry.promote(champion, actor="test")
    version = world.trained()
    assert world.look(stages=(10.0, 100.0), days=3.0) == [version]
    begun = world.experiments.entry(version)
    models = [arm.model for arm in begun.experiment.arms]
    assert (models, begun.percent, begun.experiment.limits.days) == ([champion, version], 10.0, 3.0)
    assert world.experiments.moves(version)[0]["actor"] == ACTOR
    assert world.said()[0] == f"Its rollout began: experiment {version}."


def test_without_a_champion_the_base_is_what_it_has_to_beat(world: World) -> None:
    version = world.trained()
    world.look()
    assert world.experiments.entry(version).experiment.control.model == "base"


def test_one_version_gets_one_rollout(world: World) -> None:
    version = world.trained()
    assert world.look() == [version]
    assert world.look() == []
    world.experiments.stop(version, Why("test"))
    assert world.look() == []


def test_what_people_made_is_theirs(world: World) -> None:
    world.trained(owner="key_1")
    assert world.look() == []


def test_it_can_be_turned_off(world: World) -> None:
    world.trained()
    assert world.look(automatic=False) == []


def test_a_domain_with_a_rollout_gets_no_second_one(world: World) -> None:
    first, second = world.trained(), world.trained()
    looking = Succession(world.store, world.registry, Plan(), ["legal"])
    world.registry.challenge(first, actor="test")
    assert [design.name for design in looking.look()] == [first]
    world.registry.challenge(second, actor="test")
    assert looking.look() == looking.look() == []
    waits = [words for words in world.said() if words.startswith("Its rollout waits")]
    assert len(waits) == 1
    world.experiments.stop(first, Why("test"))
    assert [design.name for design in looking.look()] == [second]


def test_after_a_rollback_the_next_waits(world: World) -> None:
    first = world.trained()
    world.look()
    world.experiments.roll_back(first, Why("test"))
    world.trained()
    assert world.look() == []
    assert "cooldown_hours" in world.said()[0]


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("stages = [50.0, 10.0]", "each stage must be larger"),
        ('metric = "a b"', "metric"),
        ("stage_units = 0", "training.rollout.stage_units"),
        ("margins = 1", "training.rollout.margins: no such setting"),
    ],
)
def test_a_plan_that_makes_no_sense_stops_the_start(
    tmp_path: Path, setting: str, named: str
) -> None:
    config = tmp_path / "turnout.toml"
    config.write_text(f"[training.rollout]\n{setting}\n")
    with pytest.raises(ConfigurationError, match=named):
        load(config)
