"""What grows: for each dimension a gateway with little of it and one with much, alike in all
else."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from adapters.experiments.book import ExperimentBook
from adapters.experiments.design import BASE_ARM, Arm, Experiment
from benchmarks.flat.interactions import filled_store, insist_on_room
from benchmarks.gateway.contender import Answer, Surroundings, WrongRun
from benchmarks.gateway.prepared import (
    fit_state,
    furnish,
    opened,
    publish,
    write_base,
    write_config,
)
from benchmarks.gateway.processes import Started, serve_command
from benchmarks.gateway.questions import Body, Question
from benchmarks.gateway.turnout_gateway import Turnout
from benchmarks.swap.prepare import fresh_copy
from gateway.access import KeyStore, Role

# What the engines of the experiments' gateways hold: a version for each of a hundred domains.
_HELD = 128
_CALLERS = 10_000  # lines of headers on both sides, however few keys there are behind them

Say = Callable[[str], None]


class Side(Turnout):
    """One of two gateways that differ in one thing. The state is its own and used in place."""

    def __init__(
        self,
        folder: Path,
        *,
        replicas: int = 1,
        more_packs: Sequence[Path] = (),
        serving: Sequence[str] = (),
        callers: Path | None = None,
    ) -> None:
        self.folder = folder
        self.replicas = replicas
        self.callers = callers
        self._more_packs = more_packs
        self._serving = serving
        self.mode = folder.name
        if callers is not None:
            self.headers: Mapping[str, str] = {}

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def command(self, port: int, around: Surroundings) -> list[str]:
        config = write_config(
            self.folder / "turnout.toml",
            around.upstreams[: self.replicas],
            packs=not self._more_packs,
            more_packs=self._more_packs,
            held=_HELD if self._more_packs else 16,
        )
        return serve_command(config, self.state, port)

    def body(self, question: Question) -> Body:
        """`auto`, through the router; where there are other packs, each of them in turn."""
        model = "auto"
        if self._more_packs:
            asked = int(question.unit.rpartition("-")[2])
            model = self._more_packs[asked % len(self._more_packs)].name
        return {**question.body(model), "turnout": {"retrieval": False}}

    def accept(self, question: Question, answer: Answer) -> None:
        """Where there are other packs, each has its experiment."""
        super().accept(question, answer)
        if self._more_packs and "x-turnout-arm" not in answer.headers:
            raise WrongRun(f"{self.label}: no experiment for {question.text!r}")

    @contextmanager
    def running(self, around: Surroundings) -> Iterator[Started]:
        """Returns once every replica serves what it should."""
        with super().running(around) as running:
            lines = [
                f'turnout_adapter_replicas{{state="ready",version="{version}"}} {self.replicas}.0'
                for version in self._serving
            ]
            up = f'turnout_engine_up{{engine="mock"}} {self.replicas}.0'
            running.process.wait_for_metrics(up, *lines)
            yield running


@dataclass(frozen=True)
class Workshop:
    """Makes sides. What they have in common is made once."""

    folder: Path
    home: Path
    say: Say

    @cached_property
    def base(self) -> Path:
        return write_base(self.folder / "base")

    @cached_property
    def _fitted(self) -> Path:
        self.say("fitting a router")
        return fit_state(self.folder / "fitted")

    def _state(self, name: str) -> Path:
        """A side's folder, with a router in its state."""
        folder = self.folder / name
        fresh_copy(self._fitted, folder / "state")
        return folder

    def _furnished(self, name: str) -> tuple[Path, list[str]]:
        """… and two versions of each domain with an experiment between them."""
        folder = self._state(name)
        pairs = furnish(folder / "state", self.base)
        return folder, [version for pair in pairs.values() for version in pair]

    def same(self, name: str, _count: int) -> Side:
        """Nothing differs: what the measurement itself makes of that."""
        folder, serving = self._furnished(name)
        return Side(folder, serving=serving)

    def versions(self, name: str, count: int) -> Side:
        """Registered versions that may be asked for; one of them is champion, few are loaded."""
        folder = self._state(name)
        with opened(folder / "state") as (_, registry):
            made = publish(registry, "espresso", self.base, count)
        return Side(folder, serving=made[:1])

    def experiments(self, name: str, count: int) -> Side:
        """Live experiments, each on a domain of its own, and as many that have ended."""
        folder = self._state(name)
        packs = [_write_pack(folder / "packs" / f"domain{number:03d}") for number in range(count)]
        serving = []
        with opened(folder / "state") as (store, registry):
            book = ExperimentBook(store, registry)
            for pack in packs:
                (version,) = publish(registry, pack.name, self.base, 1)
                arms = (Arm("control", BASE_ARM), Arm("new", version))
                book.begin(Experiment(f"ended-{pack.name}", pack.name, arms))
                book.stop(f"ended-{pack.name}")
                book.begin(Experiment(f"live-{pack.name}", pack.name, arms))
                serving.append(version)
        return Side(folder, more_packs=packs, serving=serving)

    def keys(self, name: str, count: int) -> Side:
        """API keys; requests come with all of them in turn."""
        folder, serving = self._furnished(name)
        with opened(folder / "state") as (store, _):
            keys = KeyStore(store)
            secrets = [keys.create(f"caller-{n}", Role.USER)[1] for n in range(count)]
        callers = folder / "callers.txt"
        lines = (f"Authorization: Bearer {secrets[n % count]}\n" for n in range(_CALLERS))
        callers.write_text("".join(lines), encoding="utf-8")
        return Side(folder, serving=serving, callers=callers)

    def rows(self, name: str, count: int) -> Side:
        """Interactions in the store."""
        filled = filled_store(
            self.home, count, lambda done: self.say(f"{done:,} of {count:,} interactions")
        )
        folder = self._state(name)
        insist_on_room(folder, count)
        for old in (folder / "state").glob("turnout.db*"):
            old.unlink()
        self.say(f"copying {count:,} interactions")
        shutil.copyfile(filled, folder / "state" / "turnout.db")
        pairs = furnish(folder / "state", self.base)
        return Side(folder, serving=[version for pair in pairs.values() for version in pair])

    def fleet(self, name: str, count: int) -> Side:
        """Replicas of the one engine."""
        folder, serving = self._furnished(name)
        return Side(folder, replicas=count, serving=serving)


@dataclass(frozen=True, slots=True)
class Dimension:
    """Something that grows from `little` to `much`, and who makes a side with so much of it."""

    little: int
    much: int
    make: Callable[[Workshop, str, int], Side]


def dimensions(interactions: int) -> dict[str, Dimension]:
    """By name, in the order in which they are measured."""
    return {
        "versions": Dimension(1, 1_000, Workshop.versions),
        "experiments": Dimension(1, 100, Workshop.experiments),
        "keys": Dimension(10, 10_000, Workshop.keys),
        "interactions": Dimension(1_000, interactions, Workshop.rows),
        "replicas": Dimension(1, 64, Workshop.fleet),
        "same": Dimension(1, 1, Workshop.same),
    }


def _write_pack(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "pack.toml").write_text(
        f'name = "{folder.name}"\ntitle = "{folder.name}"\n', encoding="utf-8"
    )
    line = json.dumps({"text": f"a question of {folder.name}", "label": folder.name})
    (folder / "queries.jsonl").write_text(line + "\n", encoding="utf-8")
    return folder
