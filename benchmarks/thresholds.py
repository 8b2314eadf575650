"""Whether thresholds keep what was asked of them, and whether drift is seen, and only drift.

python -m benchmarks.thresholds: thresholds are chosen on one half of the evaluation queries and
judged on the other; drift is looked for in windows of evaluation queries, as they are and with a
share from a source that the router has not seen or from one label alone. Temperatures stay.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from adapters.cli import as_json, show_table
from benchmarks import corpus
from router import Cascade, Decision, Router
from router.errors import GoalError
from router.examples import Example
from router.quality.drift import Verdict, drift_of
from router.quality.goals import Cost, Coverage, Goal, Judged, Precision

REPEATS = 20
PRECISIONS, COVERAGES, COSTS = (0.90, 0.95), (0.8, 0.9, 0.95), (2, 5, 10)
SIZES = (200, 500, 2_000)
SHARES = (0.1, 0.2, 0.4)
QUIET_WINDOWS, MOVED_WINDOWS = 200, 50
UNSEEN = ("BANKING77", "MedQuAD", "TeleQnA")
ALONE = "telecom"

Floats = npt.NDArray[np.float64]
Measure = Callable[[Judged, npt.NDArray[np.bool_]], Floats | float]
Say = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Reached:
    """What came of a goal on the other halves.

    `refused` of REPEATS times it could not be promised. `mean` and `deviation` are of what was
    asked for (a precision is each domain's), `without` of the same with nothing held back;
    `missed` is the share of domains with less than was promised. `kept` of the queries are not held
    back, `right` of these are right.
    """

    refused: int
    mean: float
    deviation: float
    without: float
    missed: float | None
    kept: float
    right: float


@dataclass(frozen=True, slots=True)
class Alarms:
    """Shares of `windows`, each of `size` queries: with a signal that drifted, and with one that is
    at least to be watched. `share` of the queries are `of` another kind."""

    of: str
    share: float
    size: int
    windows: int
    drifted: float
    watch: float


class RememberingRouter(Router):
    """Decides a text once, in however many windows it is."""

    def __init__(self, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        self._seen: dict[str, Decision] = {}

    def decide(self, text: str, allowed: Any = None) -> Decision:
        if allowed is not None:
            return super().decide(text, allowed)
        if text not in self._seen:
            self._seen[text] = super().decide(text)
        return self._seen[text]


def judged(cascade: Cascade, examples: Sequence[Example], say: Say) -> Judged:
    """Queries without words are left out: no threshold concerns them."""
    names, rows, labels = cascade.first.labels, [], []
    for done, example in enumerate(examples, 1):
        shares = cascade.decide(example.text).probabilities
        if shares:
            rows.append([shares[name] for name in names])
            labels.append(names.index(example.label))
        say(done, len(examples))
    return Judged(names, np.array(rows), np.array(labels))


def goals() -> Iterator[tuple[str, Goal, Measure]]:
    for precision in PRECISIONS:
        yield f"precision {precision:.2f}", Precision(precision), _precisions
    for coverage in COVERAGES:
        yield f"coverage {coverage:.2f}", Coverage(coverage), _kept
    for wrong in COSTS:
        cost = Cost(wrong, 1)
        yield f"cost {wrong}:1", cost, cost.of


def reached(goal: Goal, measure: Measure, whole: Judged) -> Reached | None:
    """None where it was refused each time."""
    random = np.random.default_rng(0)
    before = dict.fromkeys(whole.names, 0.0)
    values, without, kept, right = [], [], [], []
    for _ in range(REPEATS):
        inside, outside = np.array_split(random.permutation(len(whole.labels)), 2)
        test = _part(whole, outside)
        try:
            held = test.held_back(goal.thresholds(_part(whole, inside), before))
        except GoalError:
            continue
        values.append(np.atleast_1d(measure(test, held)))
        without.append(np.atleast_1d(measure(test, np.zeros_like(held))))
        kept.append(_kept(test, held))
        right.append(test.right[~held].mean())
    if not values:
        return None
    return Reached(
        refused=REPEATS - len(values),
        mean=float(np.mean(values)),
        deviation=float(np.std(values)),
        without=float(np.mean(without)),
        missed=_missed(goal, np.array(values)),
        kept=float(np.mean(kept)),
        right=float(np.mean(right)),
    )


def _precisions(each: Judged, held_back: npt.NDArray[np.bool_]) -> Floats:
    places = [each.names.index(domain) for domain in each.domains()]
    return np.array([each.right[(each.best == place) & ~held_back].mean() for place in places])


def _kept(_: Judged, held_back: npt.NDArray[np.bool_]) -> float:
    return float(1 - held_back.mean())


def _missed(goal: Goal, values: Floats) -> float | None:
    """Only a precision is promised for later queries."""
    return float((values < goal.value).mean()) if isinstance(goal, Precision) else None


def _part(whole: Judged, rows: npt.NDArray[np.int64]) -> Judged:
    return Judged(whole.names, whole.probabilities[rows], whole.labels[rows])


def alarms(
    router: Router, usual: Sequence[str], other: Sequence[str], of: str, share: float, size: int
) -> Alarms:
    """Windows with `share` of their queries from `other`, all drawn with replacement."""
    random = np.random.default_rng(0)
    windows = MOVED_WINDOWS if share else QUIET_WINDOWS
    drifted = watch = 0
    for _ in range(windows):
        strange = int(share * size)
        texts = [usual[row] for row in random.integers(len(usual), size=size - strange)]
        texts += [other[row] for row in random.integers(len(other), size=strange)]
        verdicts = {shift.verdict for shift in drift_of(router, texts).shifts.values()}
        drifted += Verdict.DRIFTED in verdicts
        watch += verdicts != {Verdict.STABLE}
    return Alarms(of, share, size, windows, drifted / windows, watch / windows)


def drifts(queries: corpus.Corpus, folder: Path) -> Iterator[Alarms]:
    """False alarms of the router in `folder`, then how often what is not usual is seen."""
    router = RememberingRouter.load(folder)
    texts = [example.text for example in queries.test]
    label = [example.text for example in queries.test if example.label == ALONE]
    for size in SIZES:
        yield alarms(router, texts, (), "nothing", 0.0, size)
    for share in SHARES:
        for size in SIZES:
            yield alarms(router, texts, label, ALONE, share, size)
    for source in UNSEEN:
        train = [example for example in queries.train if example.source != source]
        router = RememberingRouter.load(queries.fitted(train, f"no {source}", second=False))
        usual = [example.text for example in queries.test if example.source != source]
        both = (*queries.train, *queries.test)
        unseen = [example.text for example in both if example.source == source]
        for share in SHARES:
            for size in SIZES:
                yield alarms(router, usual, unseen, source, share, size)


@click.command()
@corpus.data
@as_json
def main(data: Path, as_json: bool) -> None:
    """Choose thresholds for goals on half of the evaluation queries; look for drift."""
    with corpus.corpus(data) as queries:
        folder = queries.fitted(queries.train, "all")
        whole = judged(Cascade.load(folder), queries.test, queries.task("deciding"))
        found = {name: reached(goal, measure, whole) for name, goal, measure in goals()}
        done, rows = queries.task("looking for drift"), []
        for row in drifts(queries, folder):
            rows.append(row)
            done(len(rows), len(SIZES) * (1 + len(SHARES) * (1 + len(UNSEEN))))
    if as_json:
        told = {name: each and asdict(each) for name, each in found.items()}
        click.echo(json.dumps({"goals": told, "drift": [asdict(row) for row in rows]}))
    else:
        _show(found, rows)


def _show(found: Mapping[str, Reached | None], rows: Sequence[Alarms]) -> None:
    heads = ("refused", "reached", "±", "without", "missed", "not held back", "right of these")
    show_table(
        ("goal", *heads), [(name, *(_cells(each) if each else ())) for name, each in found.items()]
    )
    show_table(
        ("of another kind", "share", "queries", "drifted", "drifted or watch"),
        [
            (row.of, f"{row.share:.0%}", row.size, f"{row.drifted:.2f}", f"{row.watch:.2f}")
            for row in rows
        ],
    )


def _cells(each: Reached) -> Iterator[str]:
    yield f"{each.refused}/{REPEATS}"
    for value in (each.mean, each.deviation, each.without, each.missed, each.kept, each.right):
        yield "" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
