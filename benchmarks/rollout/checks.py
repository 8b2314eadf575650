"""What the store says of a rollout that is over, and whether that is what should have happened.

Users' own records are used for two things the store cannot know: what they were answered, and what
failed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scipy.stats import binom

from adapters.experiments.book import ExperimentBook
from adapters.experiments.entry import Entry, State
from adapters.experiments.watch import ACTOR
from adapters.interactions import Interaction, JudgedInteraction, Outcome
from adapters.registry import Aliases, Registry
from adapters.store import Store, instant
from benchmarks.rollout.play import AFTER
from benchmarks.rollout.users import Seen

UNDER_WAY_SECONDS = 5.0  # around a move: delivery of the journal, and until gateways take it up
_CHANCE = 0.999  # of a fair split to stay within a stage's tolerance


@dataclass(frozen=True, slots=True)
class Expected:
    """How it has to end: the last move, who serves then, and the most answers it may take."""

    end: str
    champion: str
    answers: int


@dataclass(frozen=True, slots=True)
class Stage:
    """Units that first came while the challenger had `percent`: `tested` of them became its own,
    by chance at most `most`."""

    percent: float
    units: int
    tested: int

    @property
    def most(self) -> int:
        return int(binom.ppf(_CHANCE, self.units, self.percent / 100))


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `told` is what was found."""

    name: str
    ok: bool
    told: str


@dataclass(frozen=True)
class Stored:
    """An experiment's traces in the store: its audit log, and its domain's answers since it began,
    by time."""

    entry: Entry
    moves: Sequence[Mapping[str, Any]]
    champion: str | None
    answers: Sequence[JudgedInteraction]

    @classmethod
    def read(cls, store: Store, registry: Registry, name: str) -> "Stored":
        book = ExperimentBook(store, registry)
        entry = book.entry(name)
        domain = entry.experiment.domain
        champion = registry.aliases().get(domain, Aliases()).champion
        moves = book.moves(name)  # they tell milliseconds, and somebody may have asked just before
        answers = list(store.judged(domain, since=instant(moves[0]["at"])))
        return cls(entry, moves, champion, answers)

    @cached_property
    def assigned(self) -> list[Interaction]:
        """Answers within the experiment."""
        name = self.entry.experiment.name
        found = (judged.interaction for judged in self.answers)
        return [answer for answer in found if answer.experiment == name and answer.arm is not None]

    @cached_property
    def arms(self) -> dict[str, list[str]]:
        """By session, the arms of its answers in their order."""
        arms: dict[str, list[str]] = {}
        for answer in self.assigned:
            arms.setdefault(answer.session or "", []).append(answer.arm or "")
        return arms

    @cached_property
    def first(self) -> dict[str, Interaction]:
        """By session, its first answer."""
        first: dict[str, Interaction] = {}
        for answer in self.assigned:
            first.setdefault(answer.session or "", answer)
        return first

    @property
    def stages(self) -> Iterator[Stage]:
        """In their order. A unit whose first answer came shortly after a move may have got its arm
        before: it counts for the later, larger stage."""
        begun = [(instant(m["at"]), m["after"]) for m in self.moves]
        begun = [(at, now["percent"]) for at, now in begun if now["state"] != State.STOPPED]
        ends = [*(at for at, _ in begun[1:]), float("inf")]
        control = self.entry.experiment.control.name
        for (at, percent), end in zip(begun, ends, strict=True):
            came = [answer.arm for answer in self.first.values() if at <= answer.created < end]
            yield Stage(percent, len(came), sum(arm != control for arm in came))


def check(stored: Stored, seen: Seen, expected: Expected) -> list[Check]:
    """Everything that is asked of a rollout."""
    found = [
        _end(stored, expected),
        _alone(stored),
        _bounded(stored, seen, expected),
        _shares(stored),
        _failures(stored, seen),
        _answers(stored, seen),
        _feedback(stored, seen),
        _conversations(stored),
        _afterwards(stored, expected),
    ]
    return [*found, _same_arms(stored, seen.struck)] if seen.struck else found


def _end(stored: Stored, expected: Expected) -> Check:
    last = stored.moves[-1]
    ok = (
        last["kind"] == expected.end
        and bool(last["evidence"])
        and stored.entry.state is State.STOPPED
        and stored.champion == expected.champion
    )
    told = f"{last['kind']}: {last['reason']}; {stored.champion} serves"
    return Check(f"ends by {expected.end}, with evidence", ok, told)


def _alone(stored: Stored) -> Check:
    others = {move["actor"] for move in stored.moves[1:]} - {ACTOR}
    moves = ", ".join(f"{move['kind']} {move['after']['percent']:g}" for move in stored.moves)
    return Check("every move is the system's own", not others, moves)


def _bounded(stored: Stored, seen: Seen, expected: Expected) -> Check:
    most = expected.answers + seen.cut_off
    told = f"{len(stored.assigned)} answers, at most {most}"
    return Check("within the bound that was stated", len(stored.assigned) <= most, told)


def _shares(stored: Stored) -> Check:
    stages = list(stored.stages)
    told = "; ".join(f"{s.percent:g} %: {s.tested} of {s.units}, at most {s.most}" for s in stages)
    ok = all(stage.tested <= stage.most for stage in stages)
    return Check("no stage gives more than its share", ok, told)


def _failures(stored: Stored, seen: Seen) -> Check:
    failed = [j.interaction.error for j in stored.answers if j.interaction.outcome != Outcome.OK]
    told = [*seen.failures, *map(str, failed)]
    words = "; ".join(told[:3]) or f"none; {seen.cut_off} were cut off by the kill"
    return Check("no request failed", not told, words)


def _answers(stored: Stored, seen: Seen) -> Check:
    kept = {judged.interaction.id for judged in stored.answers}
    missing, unknown = seen.answered.keys() - kept, kept - seen.answered.keys()
    # An answer may be complete for the gateway, and cut off for its reader.
    ok = not missing and len(unknown) <= seen.cut_off
    told = f"{len(kept)} stored, {len(missing)} missing, {len(unknown)} that nobody received"
    return Check("every answer is stored once", ok, told)


def _feedback(stored: Stored, seen: Seen) -> Check:
    given = {receipt: [up] for receipt, up in seen.said.items()}
    kept = {
        j.interaction.id: [said.value for said in j.feedback] for j in stored.answers if j.feedback
    }
    wrong = [receipt for receipt in given | kept if given.get(receipt) != kept.get(receipt)]
    told = f"{len(given)} answers were judged, of {len(wrong)} the store has something else"
    return Check("every feedback is stored once", not wrong, told)


def _conversations(stored: Stored) -> Check:
    """Those that begin while a move is under way may: see `adapters.experiments.conversations`."""
    moved = [instant(move["at"]) for move in stored.moves[1:]]
    switched, excused = [], 0
    for name, arms in stored.arms.items():
        if len(set(arms)) > 1:
            near = any(abs(stored.first[name].created - at) < UNDER_WAY_SECONDS for at in moved)
            excused += near
            switched += [] if near else [name]
    told = f"{len(switched)} of {len(stored.arms)} did {', '.join(switched[:5])}"
    told += f"; {excused} that began while a move was under way" if excused else ""
    return Check("no session changes arms", not switched, told)


def _afterwards(stored: Stored, expected: Expected) -> Check:
    later = [
        j.interaction for j in stored.answers if (j.interaction.session or "").startswith(AFTER)
    ]
    models = {answer.model for answer in later}
    ok = models == {expected.champion} and all(answer.experiment is None for answer in later)
    return Check("afterwards its champion answers", ok, f"{len(later)} by {', '.join(models)}")


def _same_arms(stored: Stored, struck: float) -> Check:
    """Of sessions that were there on both sides of the kill."""
    sides: dict[str, tuple[set[str], set[str]]] = {}
    for answer in stored.assigned:
        before, after = sides.setdefault(answer.session or "", (set(), set()))
        (before if answer.created < struck else after).add(answer.arm or "")
    both = [arms for arms in sides.values() if all(arms)]
    same = sum(before == after for before, after in both)
    told = f"{same} of {len(both)} sessions that came before and after"
    return Check("the kill changes nobody's arm", bool(both) and same == len(both), told)
