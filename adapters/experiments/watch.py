"""The rollout at work: looks at every live experiment from time to time, and does what the policy
says. One process at a time does so, whichever holds the lease.

    python -m adapters.experiments.watch        (the gateway's child; `turnout experiments watch`)

Whatever interrupts it changes nothing: a look reads everything from the store, and every move is
one transaction there.
"""

import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.json import decode

from adapters.artifacts import Artifacts
from adapters.errors import AdapterError, RefusedMove
from adapters.experiments.analysis import analyse
from adapters.experiments.bandit import bandit_weights
from adapters.experiments.book import ExperimentBook
from adapters.experiments.entry import Entry, Why
from adapters.experiments.judging import judge_answers
from adapters.experiments.metrics import measure
from adapters.experiments.policy import Act, Situation, Step, next_step
from adapters.experiments.pulse import feel, read_pulses
from adapters.experiments.shadows import compare
from adapters.experiments.watcher import Places
from adapters.packs import checks_of
from adapters.registry import Registry
from adapters.store import Store, instant

logger = logging.getLogger(__name__)

ACTOR = "rollout"
LEASE = "experiments"
_LEASE_SECONDS = 30.0  # after a crash, so long nobody looks
_SETTLED_SECONDS = 2.0  # after a move, until what gateways gave by the old weights is stored
_FORGOTTEN_SECONDS = 60.0  # after a move there is nothing to settle any more
_JUDGE_SECONDS = 20.0  # for each judge at each look
_PAUSE_PER_LOOK = 20.0  # a look may take so much less time than the pause after it


class Looked(Struct, frozen=True):
    """What a look at an experiment came to."""

    experiment: str
    step: Step
    words: tuple[str, ...]


class Watch:
    """Looks at experiments and moves them.

    Args:
        packs: folders of the packs, whose checks are metrics.
        every: seconds between looks at one experiment; longer where a look takes long.
        holder: who holds the lease; by default this process.
    """

    def __init__(
        self,
        store: Store,
        book: ExperimentBook,
        *,
        packs: Sequence[Path] = (),
        every: float = 60.0,
        holder: str = "",
    ) -> None:
        self._store = store
        self._book = book
        self._packs = packs
        self._every = every
        self._holder = holder or f"{socket.gethostname()[:40]}:{os.getpid()}"
        self._due: dict[str, float] = {}
        self._settled: dict[str, str] = {}
        self._renewal = 0.0

    def round(self) -> list[Looked]:
        """Look at every live experiment that is due; none while another process does.

        One that cannot be looked at is logged, and the others go on.
        """
        looks: list[Looked] = []
        if not self._holds_lease():
            return looks
        for entry in self._book.live():
            name, began = entry.experiment.name, time.monotonic()
            self._settle(entry)
            if began < self._due.get(name, 0.0):
                continue
            if not self._holds_lease():
                return looks
            try:
                looks.append(self.look(entry))
            except AdapterError as exc:
                logger.warning("experiment %s was not looked at: %s", name, exc)
            except Exception:  # the others must not go unwatched
                logger.exception("experiment %s could not be looked at", name)
            ended = time.monotonic()
            self._due[name] = ended + max(self._every, _PAUSE_PER_LOOK * (ended - began))
        return looks

    def rounds(self, wait: Callable[[float], bool]) -> Iterator[Looked]:
        """Round after round, through times when the store is down; `wait` gets the seconds until
        the next and says whether there shall be none."""
        while not wait(min(1.0, self._every)):
            try:
                yield from self.round()
            except AdapterError as exc:
                logger.warning("experiments wait for the store: %s", exc)

    def _settle(self, entry: Entry) -> None:
        """A few seconds after a move, keep the conversations that began by the old weights."""
        since, name = time.time() - instant(entry.moved), entry.experiment.name
        if (
            _SETTLED_SECONDS <= since < _FORGOTTEN_SECONDS
            and self._settled.get(name) != entry.moved
        ):
            self._book.settle(name)
            self._settled[name] = entry.moved

    def look(self, entry: Entry) -> Looked:
        """Read one experiment's data, decide, and act."""
        design = entry.experiment
        name, moment = design.name, time.time()
        for judge in design.judges:
            graded = judge_answers(self._store, design, judge, seconds=_JUDGE_SECONDS)
            if graded.problem:
                logger.warning("experiment %s: judge %s: %s", name, judge.name, graded.problem)
        moves, before = self._book.moves(name), self._book.last_look(name) or {}
        checks = checks_of(design.domain, self._packs) if design.checks else ()
        measured = measure(self._store, entry, checks=checks)
        report = analyse(entry, measured, moves)
        pulses, missing = feel(entry, measured, read_pulses(before.get("pulses")))
        at = Situation(entry, report, measured, moves, missing, moment)
        step = next_step(at)
        found = {
            "at": moment,
            "report": asdict(report),
            "shadows": [asdict(one) for one in compare(self._store, entry, checks=checks)],
            "pulses": {arm: asdict(pulse) for arm, pulse in pulses.items()},
            "step": asdict(step),
        }
        self._book.looked(name, found)
        if step.act is not Act.HOLD:
            self._act(name, step, moves)
        elif at.is_bandit and at.stage_is_over:
            self._reweigh(name, bandit_weights(entry, measured, moves))
        return Looked(name, step, tuple(verdict.words for verdict in report.verdicts))

    def _holds_lease(self) -> bool:
        if time.monotonic() >= self._renewal:
            if not self._store.lease(LEASE, self._holder, _LEASE_SECONDS):
                return False
            self._renewal = time.monotonic() + _LEASE_SECONDS / 3
        return True

    def close(self) -> None:
        """Let another process take over at once."""
        self._store.release(LEASE, self._holder)
        self._renewal = 0.0

    def _reweigh(self, name: str, weights: dict[str, float] | None) -> None:
        if weights is not None:
            why = Why(ACTOR, "by how likely each arm is the best", {"weights": weights})
            self._book.set_weights(name, weights, why)

    def _act(self, name: str, step: Step, moves: Sequence[dict[str, Any]]) -> None:
        evidence = {**step.evidence, **({"cause": step.cause} if step.cause else {})}
        why = Why(ACTOR, step.reason, evidence)
        logger.info("experiment %s: %s, %s", name, step.act, step.reason)
        match step.act:
            case Act.STAGE:
                self._book.set_stage(name, step.percent, why)
            case Act.ROLL_BACK:
                self._book.roll_back(name, why)
            case Act.DROP:
                self._book.drop(name, step.arm, why)
            case Act.FREEZE:
                self._book.freeze(name, why)
            case Act.THAW:
                self._book.thaw(name, why)
            case Act.STOP:
                self._book.stop(name, why)
            case Act.PROPOSE:
                self._book.propose(name, why)
            case Act.PROMOTE:
                self._promote(name, step, why, moves)

    def _promote(self, name: str, step: Step, why: Why, moves: Sequence[dict[str, Any]]) -> None:
        try:
            self._book.promote(name, step.arm, why)
        except RefusedMove as exc:  # retired meanwhile, or its gate never passed: a person's
            if not any(move["kind"] == "propose" for move in moves):
                reason = f"{why.reason}; not promoted: {exc}"
                self._book.propose(name, Why(why.actor, reason, why.evidence))


def main() -> None:
    """Watch until stdin ends; its first line says where everything is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal: it is for the gateway
    os.nice(10)  # not as far back as the journal's drain: harm has to be seen on a busy host too
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    places = decode(sys.stdin.buffer.readline(), type=Places)
    store = Store(places.store_url)
    registry = Registry(store, Artifacts(places.artifacts, Path(places.cache)))
    watch = Watch(
        store,
        ExperimentBook(store, registry),
        packs=[Path(path) for path in places.packs],
        every=places.every,
    )
    try:
        for _ in watch.rounds(_input_ended):
            pass
    finally:
        with suppress(AdapterError):  # the lease runs out by itself
            watch.close()


def _input_ended(pause: float) -> bool:
    """Wait, but not for longer than there is somebody to work for."""
    ready, _, _ = select.select([sys.stdin.buffer], [], [], pause)
    return bool(ready)


if __name__ == "__main__":
    main()
