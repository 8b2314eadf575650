"""What every gateway of the comparison has in common: how to get, to start and to ask it."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from benchmarks.gateway.processes import Started, started
from benchmarks.gateway.questions import Body, Question
from benchmarks.gateway.tools import BASE_MODEL
from benchmarks.swap.servers import free_port

KEY = "sk-bench-caller"


class WrongRun(Exception):
    """A gateway answered, but not in the way that was to be measured."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a gateway finds its upstream, and where it may write: each start in a fresh folder."""

    upstreams: Sequence[int]
    folder: Path


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer with status 200."""

    headers: Mapping[str, str]
    body: dict[str, Any]


class Contender(ABC):
    """One gateway in one mode."""

    name: str
    mode = "pass"
    path = "/v1/chat/completions"
    health = "/health"
    chooses_port = False  # and writes it to the file `port` of its folder
    headers: Mapping[str, str] = {"Authorization": f"Bearer {KEY}"}

    @property
    def label(self) -> str:
        return f"{self.name} ({self.mode})"

    @abstractmethod
    def prepare(self) -> None:
        """Fetch or make what a start needs, once; raises NotInstalled."""

    @abstractmethod
    def command(self, port: int, around: Surroundings) -> list[str]:
        """The command that listens on `port`; files that it reads are written here."""

    def environment(self, around: Surroundings) -> Mapping[str, str]:
        return {}

    def body(self, question: Question) -> Body:
        return question.body(BASE_MODEL)

    def running(self, around: Surroundings) -> AbstractContextManager[Started]:
        """The gateway, until the block ends; raises NotStarted."""
        port = free_port()
        return started(
            self.label,
            self.command(port, around),
            port=port,
            health=self.health,
            log=around.folder / "log.txt",
            environment=self.environment(around),
            port_file=around.folder / "port" if self.chooses_port else None,
        )

    def settle(self, running: Started) -> None:  # noqa: B027  # most leave nothing behind
        """Wait for work that requests left behind, so that its cost is counted."""

    def ask(self, running: Started, question: Question) -> Answer:
        """One request, outside any load; raises WrongRun unless `accept` takes the answer."""
        request = Request(
            running.process.url + self.path,
            json.dumps(self.body(question)).encode(),
            {"Content-Type": "application/json", **self.headers},
        )
        try:
            with urlopen(request, timeout=30) as raw:
                answer = Answer(raw.headers, json.loads(raw.read()))
        except HTTPError as exc:
            raise WrongRun(f"{self.label}: {exc.code} {exc.read()[:300]!r}") from exc
        except (OSError, ValueError) as exc:
            raise WrongRun(f"{self.label}: {exc}") from exc
        self.accept(question, answer)
        return answer

    def accept(self, question: Question, answer: Answer) -> None:
        """Raise WrongRun unless this answers the question in the way that is measured."""
        if not answer.body.get("choices"):
            raise WrongRun(f"{self.label}: no answer in {answer.body!r}")

    def check(  # noqa: B027  # a peer has no record to be checked
        self, running: Started, around: Surroundings, answered: int
    ) -> None:
        """Raise WrongRun unless it did for so many answers what it is measured for."""
