"""The story: an adapter that users' corrections made, and what tries to spoil the next one. The
benchmark only asks and says what is right; every move is the system's own, but for the bad
candidate that is put past the gate by hand."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

from adapters.experiments.book import ExperimentBook
from adapters.experiments.entry import Entry, State, Why
from adapters.experiments.plan import Plan
from adapters.job import OPEN, TrainingJob
from benchmarks.loop.people import Manner, People, Seen, Visit, visits
from benchmarks.loop.questions import DOMAIN, Questions
from benchmarks.loop.system import Running, Terms
from benchmarks.swap.system import NotSeen
from benchmarks.variants import damaged, publish_variant

Say = Callable[[str], None]
T = TypeVar("T")
_LOOK_SECONDS = 1.0
_TRAINING_SECONDS, _ROLLOUT_SECONDS = 3600.0, 1200.0
_CROWD = (Manner.HONEST,) * 8 + (Manner.NOISY, Manner.SILENT)
_BUSY, _PAUSE = 4, 1.0  # users at a time, and the seconds each reads


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened, so many seconds after the beginning."""

    at: float
    what: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """What one triggered run came to: the gate's verdict, what curation removed of each manner's
    examples and why, and how the rollout ended."""

    job: str
    version: str | None
    verdict: str
    reason: str
    taught: dict[str, int]
    removed: dict[str, dict[str, int]]
    rollout: str


@dataclass
class Story:
    """What is told in the end; exams by name, as right or wrong for each fresh question."""

    marks: list[Mark] = field(default_factory=list)
    exams: dict[str, list[bool]] = field(default_factory=dict)
    candidates: dict[str, Candidate] = field(default_factory=dict)
    champions: list[str | None] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)


class Play:
    """One system and its people, from the first question to the last."""

    def __init__(self, system: Running, questions: Questions, terms: Terms, say: Say) -> None:
        self._system, self._questions, self._terms, self._say = system, questions, terms, say
        self._people = People(system.url, system.key, lie=questions.intents[0], seed=1)
        self._began = time.monotonic()
        self.story = Story(seen=self._people.seen)

    async def run(self, phases: Sequence[str]) -> Story:
        """Play the phases in order."""
        try:
            await self._exam("before")
            for phase in phases:
                await {"learn": self._learn, "twin": self._twin, "canary": self._canary}[phase]()
                self.story.champions.append(self._system.champion)
        finally:
            await self._people.close()
        return self.story

    async def _learn(self) -> None:
        """Users correct what the base model says, until an adapter that they made serves."""
        await self._round("learn", visits(self._questions.lessons, _CROWD, "user", seed=1))
        await self._exam("after")

    async def _twin(self) -> None:
        """Four in ten lie, all the same, and some teach what the owner judges by."""
        bad = (Manner.LIAR,) * 4 + (Manner.HONEST,) * 5 + (Manner.NOISY,)
        lessons = visits(self._questions.lessons, bad, "late", seed=2)
        cheats = visits(self._questions.judged, (Manner.CHEAT,), "cheat", seed=2)
        first = [next(cheats) for _ in range(len(self._questions.judged) // 3)]
        await self._round("twin", chain(first, lessons))
        await self._exam("after the twin")

    async def _canary(self) -> None:
        """A damaged champion is put past curation and gate; only the rollout is left to see it."""
        system, champion = self._system, self._system.champion
        if champion is None:
            raise NotSeen("there is no champion to damage; play `learn` first")
        folder = system.registry.version(champion).folder
        version = publish_variant(system.registry, folder, damaged(1.0, seed=1))
        system.registry.challenge(version, actor="benchmark")
        terms = self._terms
        plan = Plan(
            minimum_effect=terms.effect,
            stages=terms.stages,
            stage_units=terms.stage_units,
            stage_hours=0.0,
        )
        design = plan.experiment(DOMAIN, champion, version)
        ExperimentBook(system.store, system.registry).begin(design, Why("benchmark"))
        self._mark(f"canary: {version} begins at {terms.stages[0]:g} %")
        async with self._asking(visits(self._questions.lessons, _CROWD, "canary", seed=3)):
            end = await self._rollout(version)
        self.story.candidates["canary"] = Candidate(
            "", version, "forged", "put past the gate", {}, {}, end
        )

    async def _round(self, name: str, crowd: Iterator[Visit]) -> None:
        """From the first question to the end of what the trigger sets off."""
        known = {job.id for job in self._system.jobs()}
        self._mark(f"{name}: users come")
        async with self._asking(crowd):
            job = await self._until(lambda: self._new(known), "the trigger", _TRAINING_SECONDS)
            self._mark(f"{name}: {job.id} is triggered by {len(self._people.seen.judged)} answers")
            done = await self._until(lambda: self._over(job), "the run's end", _TRAINING_SECONDS)
            why = done.error.message if done.error else "the gate passed it"
            self._mark(f"{name}: {done.version} {done.verdict}: {why}")
            end = "none"
            if done.verdict == "pass" and done.version is not None:
                end = await self._rollout(done.version)
        self.story.candidates[name] = self._candidate(done, why, end)

    async def _rollout(self, version: str) -> str:
        """Wait for a version's rollout to begin and to end; says how."""
        stage: float | None = None

        def ended() -> Entry | None:
            nonlocal stage
            entry = self._system.experiment(version)
            if entry is not None and entry.percent != stage:
                stage = entry.percent
                self._mark(f"rollout of {version}: {stage:g} %")
            return entry if entry is not None and entry.state is not State.RUNNING else None

        await self._until(ended, f"the end of {version}'s rollout", _ROLLOUT_SECONDS)
        last = self._system.moves(version)[-1]
        self._mark(f"rollout of {version}: {last['kind']}, {last['reason']}")
        return str(last["kind"])

    def _new(self, known: set[str]) -> TrainingJob | None:
        return next((job for job in self._system.jobs() if job.id not in known), None)

    def _over(self, job: TrainingJob) -> TrainingJob | None:
        found = next(each for each in self._system.jobs() if each.id == job.id)
        return None if found.state in OPEN else found

    def _candidate(self, job: TrainingJob, why: str, end: str) -> Candidate:
        """What the run's folder says of each manner's examples."""
        file = self._system.state / "training" / job.id / "dataset" / "removed.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        judged = self._people.seen.judged
        removed: dict[str, Counter[str]] = {}
        for item in map(json.loads, lines):
            manner = judged.get(item["origin"], "other")
            removed.setdefault(str(manner), Counter())[item["reason"]] += 1
        return Candidate(
            job=job.id,
            version=job.version,
            verdict=job.verdict or (job.error.code if job.error else ""),
            reason=why,
            taught=dict(Counter(map(str, judged.values()))),
            removed={manner: dict(some) for manner, some in removed.items()},
            rollout=end,
        )

    async def _exam(self, name: str) -> None:
        right = await self._people.exam(self._questions.fresh)
        self.story.exams[name] = right
        self._mark(f"exam {name}: {sum(right)} of {len(right)} fresh questions right")

    @asynccontextmanager
    async def _asking(self, crowd: Iterator[Visit]) -> AsyncIterator[None]:
        """Users ask during the block."""
        enough = asyncio.Event()
        visiting = asyncio.create_task(
            self._people.visit(crowd, enough, together=_BUSY, pause=_PAUSE)
        )
        try:
            yield
        finally:
            enough.set()
            await visiting

    async def _until(self, found: Callable[[], T | None], what: str, seconds: float) -> T:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            result = await asyncio.to_thread(found)
            if result is not None:
                return result
            await asyncio.sleep(_LOOK_SECONDS)
        raise NotSeen(f"waited {seconds:g} s for {what}")

    def _mark(self, what: str) -> None:
        self.story.marks.append(Mark(round(time.monotonic() - self._began, 1), what))
        self._say(what)
