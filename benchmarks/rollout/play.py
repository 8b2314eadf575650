"""One experiment from its beginning to its end, with users asking all the time: the benchmark only
starts it, and may kill the gateway. Every move is the system's own.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import aiohttp

from adapters.experiments.design import BASE_ARM, Experiment
from adapters.experiments.entry import State
from benchmarks.rollout.users import Manner, Question, Seen, Session, Users
from benchmarks.swap.system import NotSeen, System, until

AFTER = "after-"  # sessions that come when all is over
_AFTERWARDS = 30
_LOOK_SECONDS, _DEAD_SECONDS = 0.5, 2.0
_MOST_FAILURES = 20  # then there is nothing to be seen any more


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who asks and how: `workers` sessions at a time; `body` goes with every request."""

    questions: Sequence[Question]
    sessions: Sequence[Session]
    manner: Manner
    workers: int
    body: Mapping[str, Any] = field(default_factory=dict)


Say = Callable[[str], None]


async def play(
    system: System,
    experiment: Experiment,
    crowd: Crowd,
    *,
    kill_after: int | None = None,
    patience: float = 120.0,
    say: Say = lambda _: None,
    follow: Callable[[Seen], None] = lambda _: None,
) -> Seen:
    """Begin the experiment and have users ask until it has ended, and some more afterwards.

    Args:
        kill_after: so many answers of the challenger, the gateway is killed while it is asked, and
            started again.
        patience: seconds to wait for the end when everybody has asked.
        follow: called twice a second.

    Raises NotSeen when it does not end, or waits for a person.
    """
    async with system.session() as http:
        users = Users(http, experiment.domain, crowd.manner, crowd.body, Seen())
        playing = _Play(system, http, experiment, users, crowd, say)
        await playing.begin()
        end = asyncio.create_task(playing.follow(kill_after, follow))
        end.add_done_callback(lambda _: users.over.set())
        try:
            await users.visit(crowd.sessions, crowd.workers)
            say(f"{users.seen.sessions} sessions are through")
            await asyncio.wait_for(asyncio.shield(end), patience)
        except TimeoutError as exc:
            raise NotSeen(
                f"{experiment.name} goes on {patience:g} s after everybody asked"
            ) from exc
        finally:
            end.cancel()
        await playing.afterwards()
        return users.seen


class _Play:
    def __init__(
        self,
        system: System,
        http: aiohttp.ClientSession,
        experiment: Experiment,
        users: Users,
        crowd: Crowd,
        say: Say,
    ) -> None:
        self._system = system
        self._http = http
        self._experiment = experiment
        self._users = users
        self._crowd = crowd
        self._say = say

    async def begin(self) -> None:
        """Users come when every replica has what the arms need."""
        url = f"{self._system.admin_url}/admin/v1/experiments"
        async with self._http.post(url, json=asdict(self._experiment)) as answer:
            if answer.status != 201:
                raise NotSeen(f"the experiment is refused: {await answer.text()}")
        for arm in self._experiment.arms:
            if arm.model != BASE_ARM:
                await self._system.wait_ready(self._http, arm.model)

    async def follow(self, kill_after: int | None, follow: Callable[[Seen], None]) -> None:
        """Until the gateway serves without the experiment."""
        stage = None
        while True:
            shown = await self._shown()
            if shown["percent"] != stage:
                stage = shown["percent"]
                self._say(f"{stage:g} % after {self._users.seen.sessions} sessions")
            if shown["state"] == State.FROZEN:
                raise NotSeen(f"it is frozen: {shown['moves'][-1]['reason']}")
            if shown["state"] == State.STOPPED:
                break
            if kill_after is not None and self._is_time_to_strike(shown, kill_after):
                await self._strike()
            if len(failures := self._users.seen.failures) >= _MOST_FAILURES:
                raise NotSeen(f"{len(failures)} requests failed, the first: {failures[0]}")
            follow(self._users.seen)
            await asyncio.sleep(_LOOK_SECONDS)
        last = shown["moves"][-1]
        self._say(f"{last['kind']} by {last['actor']}: {last['reason']}")
        await until(self._is_taken_up, "the gateway to take up the end")

    async def afterwards(self) -> None:
        """Who comes later, in a hurry; then wait until the store has everything."""
        crowd = self._crowd
        hurried = replace(crowd.manner, pause_seconds=0.0)
        users = Users(self._http, self._experiment.domain, hurried, crowd.body, self._users.seen)
        asked = crowd.questions[:_AFTERWARDS]
        later = [Session(f"{AFTER}{number}", (q,)) for number, q in enumerate(asked)]
        await users.visit(later, crowd.workers)
        await until(self._is_delivered, "the journal's delivery")

    def _is_time_to_strike(self, shown: Mapping[str, Any], kill_after: int) -> bool:
        """Once, and when it hurts: somebody waits for an answer."""
        answers: int = shown["answers"].get(self._experiment.arms[1].name, 0)
        users = self._users
        return users.seen.struck is None and users.under_way > 0 and answers >= kill_after

    async def _strike(self) -> None:
        gateway = self._system.gateway
        self._say("kill -9 of the gateway and its children")
        self._users.strike()
        await asyncio.to_thread(gateway.kill)
        await asyncio.sleep(_DEAD_SECONDS)
        await asyncio.to_thread(gateway.start)
        await asyncio.to_thread(gateway.wait_healthy, 60)
        self._say(f"it is back; {self._users.seen.cut_off} requests were cut off")
        self._users.go_on(self._crowd.questions)

    async def _shown(self) -> dict[str, Any]:
        url = f"{self._system.admin_url}/admin/v1/experiments/{self._experiment.name}"
        async with self._http.get(url) as answer:
            answer.raise_for_status()
            shown: dict[str, Any] = await answer.json()
            return shown

    async def _is_taken_up(self) -> bool:
        body = {"model": self._experiment.domain, "messages": self._crowd.questions[0].messages}
        async with self._http.post("/v1/route", json=body) as answer:
            return (await answer.json())["experiment"] is None

    async def _is_delivered(self) -> bool:
        async with self._http.get("/metrics") as answer:
            return "turnout_journal_pending 0.0" in await answer.text()
