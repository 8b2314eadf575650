"""A judge at work: what it has not judged yet is put to it, and what it says becomes feedback.

Its metric is `judge:NAME`, from 0 to 1: a grade, or where all other arms are shadows the outcome of
a comparison from both places. It reads what users wrote: the experiment's owner decides, by the
judge's `url`, to whom that goes.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import aiohttp

from adapters.errors import EngineError
from adapters.experiments.design import Experiment, Judge
from adapters.experiments.judges.cases import Case, keep, unjudged
from adapters.experiments.judges.comparing import ask_for, compare
from adapters.experiments.judges.endpoint import PAUSES, JudgeEndpoint
from adapters.experiments.judges.prompts import Better, grade_prompt, read_grade
from adapters.store import Store

MOST = 200  # cases in one run
_AT_ONCE = 4
_GIVES_UP = 8  # failures in a row, without one answer between them
_REFUSALS = frozenset({400, 413, 422})  # of one case: too long, against its rules


@dataclass(frozen=True, slots=True)
class Graded:
    """What came of one run of a judge; counts are cases, each an answer or a pair.

    Args:
        unreadable: it said something else than was asked for, twice.
        failed: it did not answer; most of these are put to it again the next time.
        first_place_bias: how much more often than half the time the answer in the first place won a
            comparison, -0.5 to 0.5; None where nothing was compared.
        prompt_tokens, completion_tokens: where the endpoint tells.
        problem: what it last failed with.
    """

    judge: str
    asked: int = 0
    graded: int = 0
    unreadable: int = 0
    failed: int = 0
    first_place_bias: float | None = None
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    problem: str = ""


def judge_answers(
    store: Store,
    experiment: Experiment,
    judge: Judge,
    *,
    most: int = MOST,
    seconds: float = float("inf"),
    pauses: Sequence[float] = PAUSES,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Graded:
    """Put the oldest cases that it has not judged to a judge; blocks, in an event loop of its own.

    Judgements are stored as they come. A judge that does not answer is no error here: see `Graded`.

    Args:
        most: cases; an answer takes one question, a pair two.
        seconds: after so long no other is begun.
        pauses: seconds before a busy or broken endpoint is asked once more.
        progress: called with how many cases are done, and of how many.
    """
    key = os.environ.get(judge.key_env, "").strip() if judge.key_env else ""
    if judge.key_env and not key:
        return Graded(judge.name, problem=f"key_env: the environment has no {judge.key_env}")
    cases = unjudged(store, experiment, judge, most)
    bench = _Bench(
        judge,
        lambda case, value: keep(store, experiment, judge, case, value),
        lambda done: progress(done, len(cases)),
    )
    return asyncio.run(bench.hear(cases, key, pauses, seconds))


class _Bench:
    """Hears cases, some at once, and counts what comes of them."""

    def __init__(
        self,
        judge: Judge,
        keep: Callable[[Case, float | None], None],
        progress: Callable[[int], None],
    ) -> None:
        self._judge = judge
        self._keep = keep
        self._progress = progress
        self._values: list[float | None] = []
        self._places: list[Better] = []
        self._refused: list[Case] = []
        self._failed = 0
        self._in_a_row = 0
        self._problem = ""

    async def hear(
        self, cases: Sequence[Case], key: str, pauses: Sequence[float], seconds: float
    ) -> Graded:
        began, left = time.monotonic(), iter(cases)
        async with aiohttp.ClientSession() as session:
            endpoint = JudgeEndpoint(session, self._judge, key, pauses)
            work = [self._work(endpoint, left, began + seconds) for _ in range(_AT_ONCE)]
            await asyncio.gather(*work)
        graded = sum(value is not None for value in self._values)
        if graded:  # so it is these cases that it refuses, not our way of asking
            for case in self._refused:
                self._keep(case, None)
        wins = [place for place in self._places if place is not Better.NEITHER]
        return Graded(
            judge=self._judge.name,
            asked=len(self._values) + self._failed,
            graded=graded,
            unreadable=len(self._values) - graded,
            failed=self._failed,
            first_place_bias=wins.count(Better.FIRST) / len(wins) - 0.5 if wins else None,
            seconds=time.monotonic() - began,
            prompt_tokens=endpoint.prompt_tokens,
            completion_tokens=endpoint.completion_tokens,
            problem=self._problem,
        )

    async def _work(self, endpoint: JudgeEndpoint, left: Iterator[Case], ends: float) -> None:
        while self._in_a_row < _GIVES_UP and time.monotonic() < ends:
            case = next(left, None)
            if case is None:
                return
            try:
                value = await self._value(endpoint, case)
            except EngineError as exc:
                self._fail(case, exc)
            else:
                self._in_a_row = 0
                self._values.append(value)
                self._keep(case, value)
            self._progress(len(self._values) + self._failed)

    def _fail(self, case: Case, exc: EngineError) -> None:
        self._failed += 1
        self._problem = str(exc)
        if exc.status in _REFUSALS:
            self._refused.append(case)
        else:
            self._in_a_row += 1

    async def _value(self, endpoint: JudgeEndpoint, case: Case) -> float | None:
        """What the answer is worth, of a pair the seen one; None if that cannot be read."""
        rubric, said = self._judge.rubric, case.conversation
        if case.shadow is None:
            prompt = grade_prompt(rubric, said, case.answer.text)
            return await ask_for(read_grade, endpoint, prompt)
        if case.answer.text == case.shadow.text:
            return 0.5
        compared = await compare(endpoint, rubric, said, case.answer.text, case.shadow.text)
        if compared is None:
            return None
        self._places += [compared.ahead, compared.behind]
        return compared.value
