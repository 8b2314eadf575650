"""A language model says which of two models' answers is better, blindly and from both places.

The words, the marks against injections and the swap are those of live experiments.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from adapters.errors import EngineError
from adapters.experiments.design import Judge
from adapters.experiments.judges.comparing import Compared, compare
from adapters.experiments.judges.endpoint import JudgeEndpoint
from adapters.experiments.judges.prompts import Better
from training.errors import EndpointError
from training.evaluation.evaluate import Evaluation, rounded
from training.evaluation.intervals import FEW, mean_interval
from training.rows import Row

_AT_ONCE = 4
_SAME = Compared(Better.NEITHER, Better.NEITHER)


@dataclass(frozen=True, slots=True)
class Judged:
    """One model against another; of a pair that only one answered nothing is said (`errored`).

    `unreadable` pairs got a reply that says nothing, `failed` ones none at all.
    """

    compared: tuple[Compared, ...]
    errored: int
    unreadable: int
    failed: int

    def as_json(self) -> dict[str, Any]:
        """What the `evaluate` verb prints. A tie is half a win; `changed` is the share of pairs in
        which the verdict was another with the places changed."""
        values = [one.value for one in self.compared]
        lost = {"errored": self.errored, "unreadable": self.unreadable, "failed": self.failed}
        if not values:
            return {"n": 0, **lost}
        return rounded(
            {
                "n": len(values),
                "few": len(values) < FEW,
                "wins": values.count(1.0),
                "losses": values.count(0.0),
                "ties": values.count(0.5),
                "win_rate": sum(values) / len(values),
                "ci95": mean_interval(values),
                "changed": sum(not one.consistent for one in self.compared) / len(values),
                **lost,
            }
        )


def judged(
    mine: Evaluation,
    other: Evaluation,
    judge: Judge,
    key: str | None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Judged:
    """Compare the answers of two evaluations of the same rows; the same answer twice is a tie, of
    which nobody is asked.

    Raises EndpointError when the judge answers nothing at all.
    """
    pairs = [
        (row, one, two)
        for (row, one), (_, two) in zip(mine.answered, other.answered, strict=True)
        if one is not None and two is not None
    ]
    said = asyncio.run(_hear(pairs, judge, key, on_progress))
    failures = [one for one in said if isinstance(one, EngineError)]
    if failures and len(failures) == len(said):
        raise EndpointError(f"the judge does not answer: {failures[0]}")
    return Judged(
        tuple(one for one in said if isinstance(one, Compared)),
        mine.n - len(pairs),
        said.count(None),
        len(failures),
    )


async def _hear(
    pairs: list[tuple[Row, str, str]],
    judge: Judge,
    key: str | None,
    on_progress: Callable[[int, int], None],
) -> list[Compared | EngineError | None]:
    gate, done = asyncio.Semaphore(_AT_ONCE), 0
    async with aiohttp.ClientSession() as session:
        endpoint = JudgeEndpoint(session, judge, key)

        async def one(row: Row, mine: str, other: str) -> Compared | EngineError | None:
            nonlocal done
            asked = "\n\n".join(f"[{role}]\n{text}" for role, text in row.prompt)
            async with gate:
                try:
                    found: Compared | EngineError | None = _SAME
                    if mine.strip() != other.strip():
                        found = await compare(endpoint, judge.rubric, asked, mine, other)
                except EngineError as exc:
                    found = exc
            done += 1
            on_progress(done, len(pairs))
            return found

        return list(await asyncio.gather(*(one(*pair) for pair in pairs)))
