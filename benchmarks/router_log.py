"""What a router learns from a log of rated requests, and whether that log can judge it.

python -m benchmarks.router_log: six sources are left out of the fit; half of their queries are
asked by simulated users, mixed with known kinds. The router explores one request in ten; right
targets are praised at 80 %, wrong ones at 30 %. In the poisoned log every tenth request is of one
user, who praises exactly what is wrong. The routers are judged on the other half of the sources.
Fits have fewer folds than `turnout router fit`, as there are ten.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import click
import numpy as np

from adapters.cli import as_json, show_table
from benchmarks import corpus
from benchmarks.simulated_log import (
    METRIC,
    PRAISED_RIGHT,
    PRAISED_WRONG,
    Parts,
    log_of,
    parts_of,
)
from router import Cascade, Decision
from router.examples import Example
from router.fitting.lessons import FitArguments
from router.learning.estimators import Estimate
from router.learning.evidence import SOURCE, learned
from router.learning.report import OffPolicyReport, off_policy_report
from router.learning.rewards import rated, replay
from router.logged import Logged
from router.quality.evaluate import evaluate

COLUMNS = ("taken", "taken_right", "new_accuracy", "new_ece", "eval_accuracy")
REQUESTS, REQUESTS_JUDGED = 3_500, 50_000
POISON, LOGS = 0.1, 3


@dataclass(frozen=True, slots=True)
class Row:
    """A router: examples it took from the log and the share of them with the right label; judged on
    the sources left out, and on the evaluation queries."""

    taken: int
    taken_right: float | None
    new_accuracy: float
    new_ece: float
    eval_accuracy: float


@dataclass(frozen=True, slots=True)
class OffPolicy:
    """What both routers earn a request, as the simulation has it, and what the log says of it."""

    before: float
    after: float
    report: OffPolicyReport

    @property
    def truth(self) -> dict[str, float]:
        return {"before": self.before, "after": self.after, "gain": self.after - self.before}


class RememberingCascade(Cascade):
    """Decides a conversation once, however often it is asked."""

    _seen: dict[tuple[str, ...], Decision]

    def decide_turns(self, turns: Sequence[str], allowed: Any = None) -> Decision:
        if allowed is not None:
            return super().decide_turns(turns, allowed)
        if not hasattr(self, "_seen"):
            self._seen = {}
        key = tuple(turns)
        if key not in self._seen:
            self._seen[key] = super().decide_turns(turns)
        return self._seen[key]


def praised(log: Sequence[Logged]) -> list[Example]:
    """What one would do without thinking: the target that was praised last is the label."""
    labels = {one.text: one.target for one in log if one.rewards[METRIC]}
    return [Example(text, label, source=SOURCE) for text, label in labels.items()]


@dataclass(frozen=True, slots=True)
class Bench:
    """The queries and their parts."""

    queries: corpus.Corpus
    parts: Parts

    def router(self, name: str, taken: Sequence[Example] = ()) -> Cascade:
        few = FitArguments(folds=2, source_folds=4)
        examples = [*self.parts.fit, *taken]
        return RememberingCascade.load(self.queries.fitted(examples, name, arguments=few))

    def row(self, router: Cascade, taken: Sequence[Example] = ()) -> Row:
        truth = {e.text: e.label for e in (*self.parts.new, *self.parts.known)}
        right = [truth[each.text] == each.label for each in taken]
        new = evaluate(router, self.parts.new_later)
        usual = evaluate(router, self.queries.test)
        share = mean(right) if right else None
        return Row(len(right), share, new.accuracy, new.ece, usual.accuracy)

    def measured(self) -> tuple[dict[str, list[Row]], OffPolicy]:
        """Each kind of router, learned from each of LOGS logs; the last one off policy too."""
        before = after = self.router("before")
        rows: dict[str, list[Row]] = defaultdict(list, before=[self.row(before)])
        for seed in range(LOGS):
            for name, taken in self._lessons(before, seed):
                after = self.router(f"{name}, log {seed}", taken)
                rows[name].append(self.row(after, taken))
        return rows, self.off_policy(before, after)

    def _lessons(self, before: Cascade, seed: int) -> Iterator[tuple[str, list[Example]]]:
        clean, poisoned = (
            log_of(before, self.parts.new, self.parts.known, REQUESTS, seed=seed, poison=poison)
            for poison in (0.0, POISON)
        )
        yield "praise as label", praised(clean)
        yield "learned, poisoned log", learned(poisoned, METRIC, before, self.parts.fit).examples
        yield "learned", learned(clean, METRIC, before, self.parts.fit).examples

    def off_policy(self, before: Cascade, after: Cascade) -> OffPolicy:
        """On later requests about queries that neither router has seen."""
        later = (*self.parts.new_later, *self.parts.known_later)
        truth = {example.text: example.label for example in later}
        log = log_of(before, self.parts.new_later, self.parts.known_later, REQUESTS_JUDGED)

        def earned(router: Cascade) -> float:
            right = np.mean([router.decide(one.text).target == truth[one.text] for one in log])
            return float(PRAISED_WRONG + (PRAISED_RIGHT - PRAISED_WRONG) * right)

        say = self.queries.task("off-policy evaluation")
        report = off_policy_report(replay(rated(log, METRIC), METRIC, before, after, say))
        return OffPolicy(earned(before), earned(after), report)


@click.command()
@corpus.data
@as_json
def main(data: Path, as_json: bool) -> None:
    """Simulate a log, learn from it, and judge what was learned by labels and by a later log."""
    with corpus.corpus(data) as queries:
        rows, off_policy = Bench(queries, parts_of(queries.train)).measured()
    if as_json:
        told = {name: [asdict(row) for row in each] for name, each in rows.items()}
        judged = {"truth": off_policy.truth, **off_policy.report.as_json()}
        click.echo(json.dumps({"routers": told, "off_policy": judged}))
    else:
        _show(rows, off_policy)


def _show(rows: Mapping[str, Sequence[Row]], found: OffPolicy) -> None:
    show_table(
        ("router", "examples taken", "of them right", "left-out sources", "ECE", "evaluation"),
        [
            (name, *(_mean([getattr(row, column) for row in each]) for column in COLUMNS))
            for name, each in rows.items()
        ],
    )
    report = found.report
    show_table(
        ("estimator", "before", "learned", "gain"),
        [
            ("truth", *(f"{value:.4f}" for value in found.truth.values())),
            *(
                (name, *map(_told, (report.before[name], report.after[name], gain)))
                for name, gain in report.difference.items()
            ),
        ],
    )
    click.echo(f"{report.n} requests, {report.differing} differ: {report.verdict}, {report.why}")


def _mean(values: Sequence[float | None]) -> str:
    """Of the logs, with the lowest and the highest."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    ends = "" if len(known) == 1 else f" ({min(known):.4g} to {max(known):.4g})"
    return f"{mean(known):.4g}{ends}"


def _told(each: Estimate) -> str:
    return f"{each.value:.4f} ({each.low:.4f} to {each.high:.4f})"


if __name__ == "__main__":
    main()
