"""Turnout itself, in the modes that are compared: passing through, and all that it is for.

Each run is checked against its own record: a pipeline that left something out would look fast.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sqlalchemy import func, select

from adapters import tables
from adapters.store import Store
from benchmarks.gateway.contender import KEY, Answer, Contender, Surroundings, WrongRun
from benchmarks.gateway.prepared import ARMS, Prepared, write_config
from benchmarks.gateway.processes import Started, serve_command
from benchmarks.gateway.questions import DOMAINS, GENERAL, Body, Question
from benchmarks.swap.prepare import fresh_copy

# How far a target's share may lie from the third that was asked for it, and an arm's from a half:
# there are 40 units for each target, so one standard deviation of an arm's share is 0.08.
_SHARE_TOLERANCE, _ARM_TOLERANCE = 0.08, 0.3


class Turnout(Contender):
    """Key check, one target, journal and metrics; no routing, no adapters."""

    name = "turnout"
    health = "/readyz"

    def prepare(self) -> None:
        """Nothing: it is what this runs in."""

    def command(self, port: int, around: Surroundings) -> list[str]:
        config = write_config(around.folder / "turnout.toml", around.upstreams[:1], packs=False)
        return serve_command(config, around.folder / "state", port)

    def environment(self, around: Surroundings) -> Mapping[str, str]:
        return {"TURNOUT_BOOTSTRAP_KEY": KEY}

    def body(self, question: Question) -> Body:
        return question.body(GENERAL)

    def settle(self, running: Started) -> None:
        running.process.wait_for_metrics("turnout_journal_pending 0.0")

    def check(self, running: Started, around: Surroundings, answered: int) -> None:
        self.settle(running)
        self.judge(_Record.read(around.folder / "state"), answered)

    def judge(self, record: "_Record", answered: int) -> None:
        if record.total != answered:
            raise WrongRun(f"{self.label}: {answered} answers, {record.total} interactions")


class FullTurnout(Turnout):
    """Routing among packs, experiments between adapter versions, two replicas; and, in its second
    mode, retrieval, which no peer does."""

    def __init__(self, prepared: Callable[[], Prepared], *, retrieval: bool) -> None:
        self._make = prepared
        self._retrieval = retrieval
        self.mode = "full+retrieval" if retrieval else "full"

    @cached_property
    def _prepared(self) -> Prepared:
        return self._make()

    def prepare(self) -> None:
        _ = self._prepared

    def command(self, port: int, around: Surroundings) -> list[str]:
        fresh_copy(self._prepared.state, around.folder / "state")
        config = write_config(around.folder / "turnout.toml", around.upstreams, packs=True)
        return serve_command(config, around.folder / "state", port)

    def body(self, question: Question) -> Body:
        more: Body = {} if self._retrieval else {"turnout": {"retrieval": False}}
        return {**question.body("auto"), **more}

    @contextmanager
    def running(self, around: Surroundings) -> Iterator[Started]:
        """Returns once every replica serves every version."""
        with super().running(around) as running:
            running.process.wait_for_metrics(
                *(
                    f'turnout_adapter_replicas{{state="ready",version="{version}"}} '
                    f"{len(around.upstreams)}.0"
                    for pair in self._prepared.versions.values()
                    for version in pair
                )
            )
            yield running

    def accept(self, question: Question, answer: Answer) -> None:
        """The arm's version must have answered, on the documents of its domain."""
        super().accept(question, answer)
        route, arm = answer.headers.get("x-turnout-route"), answer.headers.get("x-turnout-arm")
        if route not in (*DOMAINS, GENERAL) or (arm in ARMS) != (route in DOMAINS):
            raise WrongRun(f"{self.label}: route {route}, arm {arm} for {question.text!r}")
        if arm and answer.body["model"] != self._prepared.versions[str(route)][ARMS.index(arm)]:
            raise WrongRun(f"{self.label}: {answer.body['model']} answered for the arm {arm}")
        if not self._retrieval and "x-turnout-sources" in answer.headers:
            raise WrongRun(f"{self.label}: retrieved although that was switched off")

    def judge(self, record: "_Record", answered: int) -> None:
        super().judge(record, answered)
        for target in (*DOMAINS, GENERAL):
            share = record.share(target)
            if abs(share - 1 / 3) > _SHARE_TOLERANCE:
                raise WrongRun(f"{self.label}: {share:.2f} of the requests went to {target}")
        for domain in DOMAINS:
            arms = record.arms(domain)
            if set(arms) != set(ARMS):
                raise WrongRun(f"{self.label}: arms of {domain} are {sorted(map(str, arms))}")
            if abs(arms[ARMS[0]] / sum(arms.values()) - 0.5) > _ARM_TOLERANCE:
                raise WrongRun(f"{self.label}: arms of {domain} split {arms}")


class EmptyAsgi(Contender):
    """An empty application under the same uvicorn: the physical limit of the server side."""

    name = "asgi"
    mode = "limit"

    def prepare(self) -> None:
        """Nothing: uvicorn is here."""

    def command(self, port: int, around: Surroundings) -> list[str]:
        return [sys.executable, "-m", "benchmarks.gateway.asgi", str(port)]


@dataclass(frozen=True, slots=True)
class _Record:
    """What the store has: interactions that ended well, by target and arm."""

    counts: Mapping[tuple[str, str | None], int]

    @classmethod
    def read(cls, state: Path) -> "_Record":
        kept = tables.interactions.c
        query = select(kept.target, kept.arm, func.count()).where(kept.outcome == "ok")
        store = Store(f"sqlite:///{state / 'turnout.db'}")
        try:
            with store.transaction() as connection:
                rows = connection.execute(query.group_by(kept.target, kept.arm)).all()
        finally:
            store.close()
        return cls({(row[0], row[1]): int(row[2]) for row in rows})

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def share(self, target: str) -> float:
        return sum(n for (where, _), n in self.counts.items() if where == target) / self.total

    def arms(self, target: str) -> dict[str | None, int]:
        return {arm: n for (where, arm), n in self.counts.items() if where == target}
