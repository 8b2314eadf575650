"""From stored interactions and feedback to what an analysis reads: units by arm and metric.

One pass over an experiment's interactions, in the order of time. An answer counts for the arm that
was assigned, and, but for `error` and `fallback`, only if that arm gave it. Feedback belongs to its
answer, whenever it came within the experiment's `feedback_days`; of several by one metric the
newest counts. A judge may be late: it knows no more than it would have earlier.
"""

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from sqlalchemy import ColumnElement, Connection, Text, and_, cast, null, select, true

from adapters import tables
from adapters.checks import Check
from adapters.errors import InvalidExperiment
from adapters.experiments.assignment import Standing
from adapters.experiments.columns import (
    FEEDBACK,
    PREFERENCE,
    Columns,
    Judgement,
    feedback_metric,
)
from adapters.experiments.design import ANY_TARGET, HOLDOUT, Experiment, Unit
from adapters.experiments.entry import Entry
from adapters.experiments.measures import CHECK, JUDGE, Measure
from adapters.experiments.observations import (
    Array,
    Measurement,
    Places,
    Population,
    Samples,
    beyond,
    by_unit,
)
from adapters.experiments.signals import NEED_TEXT, Answer, Said
from adapters.interactions import unit_digest
from adapters.store import Store, instant

HISTORY_DAYS = 28.0
MOST_SLICE_VALUES = 20
_DAY = 86_400.0
_ROWS = 2_000  # fetched at once
_NO_HISTORY = frozenset({"fallback", PREFERENCE})

_judgement = msgspec.json.Decoder(Judgement).decode


def measure(
    store: Store, entry: Entry, *, until: float = float("inf"), checks: Sequence[Check] = ()
) -> Measurement:
    """Everything recorded of an experiment before `until` (unix seconds), by arm and unit.

    Raises InvalidExperiment where its metrics name a check that is not among `checks`, which are
    those of its domain's pack.
    """
    look = Look(entry.experiment, checks)
    begun = instant(entry.created)
    end = end_of(entry)
    if end is not None:
        until = min(until, end)
    with store.transaction() as connection:
        for _ in look.read(connection, until):
            pass
        before = look.history(connection, begun)
    return look.measurement(before)


def end_of(entry: Entry) -> float | None:
    """Until when answers count (unix seconds), None without end: conversations that go on after an
    experiment is stopped are part of it no more."""
    return None if entry.stopped is None else instant(entry.stopped) + 1


class Look:
    """One look at an experiment's log: first `read` to its end, then what was read."""

    def __init__(self, experiment: Experiment, checks: Sequence[Check] = ()) -> None:
        if missing := experiment.checks - {check.name for check in checks}:
            raise InvalidExperiment(
                f"{experiment.name} measures checks that the pack of {experiment.domain} has not: "
                f"{', '.join(sorted(missing))}; add them to its pack.toml"
            )
        self._experiment = experiment
        self._checks = checks
        wanted = [experiment.metric.measure, *(g.measure for g in experiment.guardrails)]
        self._measures = list({one.name: one for one in reversed(wanted)}.values())[::-1]
        self._columns = Columns(self._measures, experiment.slices, checks)
        self._arms = {arm.name: place for place, arm in enumerate(experiment.arms)}
        self._units: dict[str, int] = {}
        self._ineligible = 0
        self._unreadable = 0
        self._capped = 0

    def read(
        self, connection: Connection, until: float = float("inf")
    ) -> Iterator[tuple[Answer, int | None]]:
        """Take up the experiment's own answers, in the order of time: each with its place among
        `values`, None if it counts for no arm."""
        stored = tables.interactions.c
        where = [stored.experiment == self._experiment.name]
        if until != float("inf"):
            where.append(stored.created < until)
        for answer, judgements in self.answers(connection, where, self._measures):
            yield answer, self._take_up(answer, judgements)

    def _take_up(self, answer: Answer, judgements: Sequence[Judgement]) -> int | None:
        if answer.standing == Standing.SHADOW:
            return None
        if answer.standing == Standing.INELIGIBLE:
            self._ineligible += 1
            return None
        arm = HOLDOUT if answer.standing == Standing.HOLDOUT else answer.arm
        if arm is None or answer.experiment_unit is None:
            self._unreadable += 1
            return None
        place = self._arms.setdefault(arm, len(self._arms))
        unit = self._units.setdefault(answer.experiment_unit, len(self._units))
        self._columns.add(place, unit, answer, judgements, answer.exposed)
        return len(self._columns) - 1

    def values(self) -> dict[str, Array]:
        """Every measure's value of each answer that was read, NaN where none counts."""
        units, found, self._capped = np.array(self._columns.units), {}, 0
        for one in self._measures:
            values = found[one.name] = self._columns.values(one.name)
            if feedback_metric(one.name) is not None or one.name == PREFERENCE:
                left_out = beyond(values, units, self._experiment.most_judged)
                values[left_out] = np.nan
                self._capped += len(left_out)
        return found

    def history(self, connection: Connection, begun: float) -> Array | None:
        """The primary metric of each unit from before the experiment, NaN where there is none;
        None if units have no past."""
        primary = self._measures[0]
        if self._experiment.unit is Unit.REQUEST or primary.name in _NO_HISTORY:
            return None
        stored = tables.interactions.c
        where = [stored.created >= begun - HISTORY_DAYS * _DAY, stored.created < begun]
        if self._experiment.domain != ANY_TARGET:
            where.append(stored.target == self._experiment.domain)
        if self._experiment.unit is Unit.SESSION:  # the column is what was assigned
            ours = select(stored.unit).where(stored.experiment == self._experiment.name)
            where.append(stored.unit.in_(ours.distinct()))
        past = Columns([primary], checks=self._checks)
        for answer, judgements in self.answers(connection, where, [primary]):
            unit = self._units.get(_past_unit(self._experiment.unit, answer))
            if unit is not None and answer.standing != Standing.SHADOW:
                past.add(0, unit, answer, judgements, True)
        values, units = past.values(primary.name), np.array(past.units)
        there = ~np.isnan(values)
        sums = np.bincount(units[there], weights=values[there], minlength=len(self._units))
        counts = np.bincount(units[there], minlength=len(self._units))
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan) if there.any() else None

    def measurement(self, before: Array | None) -> Measurement:
        """What was read, by arm and unit."""
        columns, primary = self._columns, self._measures[0]
        values = self.values()
        arms, units = np.array(columns.arms), np.array(columns.units)
        pairs = len(np.unique(units * len(self._arms) + arms))
        covered = 0.0 if before is None else float(np.mean(~np.isnan(before)))
        known = None if before is None else np.where(np.isnan(before), np.nanmean(before), before)
        everything = np.arange(len(columns))
        return Measurement(
            populations={name: self._population(place) for name, place in self._arms.items()},
            samples={
                one.name: self._samples(
                    one, values[one.name], everything, known if one is primary else None
                )
                for one in self._measures
            },
            slices={
                name: {
                    value: self._samples(primary, values[primary.name], places, known)
                    for value, places in columns.slice_values(name, MOST_SLICE_VALUES)
                }
                for name in self._experiment.slices
            },
            ineligible=self._ineligible,
            switched=pairs - len(self._units),
            covered=covered,
            unreadable=self._unreadable,
            capped=self._capped,
        )

    def _population(self, arm: int) -> Population:
        here = np.array(self._columns.arms) == arm
        exposed = here & np.frombuffer(bytes(self._columns.exposed), dtype=bool)
        units, created = np.array(self._columns.units), np.array(self._columns.created)
        numbers, index = np.unique(units[here], return_index=True)
        return Population(
            units=len(numbers),
            exposed_units=len(np.unique(units[exposed])),
            answers=int(here.sum()),
            exposed_answers=int(exposed.sum()),
            first=created[here][np.sort(index)],
            propensity=np.array(self._columns.propensities)[here][np.sort(index)],
        )

    def _samples(
        self, one: Measure, values: Array, places: Places, before: Array | None
    ) -> Samples:
        values = values[places]
        arms, units = np.array(self._columns.arms)[places], np.array(self._columns.units)[places]
        created = np.array(self._columns.created)[places]
        propensity = np.array(self._columns.propensities)[places]
        found = {}
        for name, arm in self._arms.items():
            of = arms == arm
            found[name] = by_unit(one, units[of], values[of], created[of], propensity[of], before)
        return found

    def answers(
        self,
        connection: Connection,
        where: Sequence[ColumnElement[bool]],
        measures: Sequence[Measure],
    ) -> Iterator[tuple[Answer, list[Judgement]]]:
        """Answers in the order of time, each with the newest feedback of every metric on it."""
        names = [one.name for one in measures]
        slices = self._experiment.slices
        metrics = {metric for name in names if (metric := feedback_metric(name)) is not None}
        metrics |= {s.removeprefix(FEEDBACK) for s in slices if s.startswith(FEEDBACK)}
        texts = (
            any(name in NEED_TEXT or name.startswith(CHECK) for name in names)
            or self._experiment.unit is Unit.USER
            or any(name.startswith("metadata.") for name in slices)
        )
        decode = msgspec.json.Decoder(Said if texts else Answer).decode
        window = self._experiment.feedback_days * _DAY
        previous: tuple[Answer, dict[str, Judgement]] | None = None
        for identity, record, judged in _rows(connection, where, metrics, PREFERENCE in names):
            if previous is None or previous[0].id != identity:
                if previous is not None:
                    yield previous[0], list(previous[1].values())
                try:
                    previous = decode(record), {}
                except msgspec.DecodeError:
                    previous, self._unreadable = None, self._unreadable + 1
            if previous is not None and judged is not None:
                _take(previous[1], judged, previous[0].created + window)
        if previous is not None:
            yield previous[0], list(previous[1].values())


def _rows(
    connection: Connection,
    where: Sequence[ColumnElement[bool]],
    metrics: set[str],
    preferences: bool,
) -> Iterator[tuple[str, str, str | None]]:
    """Id and record of interactions, once for each feedback's record beside it, or for none."""
    stored, judged = tables.interactions.c, tables.feedback.c
    # A cast hands the text over as it is, for the decoder that reads a part of it.
    columns = [stored.id, cast(stored.record, Text)]
    if metrics or preferences:
        which = true() if preferences else judged.metric.in_(metrics)
        beside = and_(judged.interaction_id == stored.id, which)
        query = select(*columns, cast(judged.record, Text)).select_from(
            tables.interactions.outerjoin(tables.feedback, beside)
        )
    else:
        query = select(*columns, null())
    ordered = query.where(*where).order_by(stored.created, stored.id)
    for row in connection.execute(ordered.execution_options(yield_per=_ROWS)):
        yield row[0], row[1], row[2]


def _take(newest: dict[str, Judgement], record: str, until: float) -> None:
    try:
        judgement = _judgement(record)
    except msgspec.DecodeError:
        return
    before = newest.get(judgement.metric)
    in_time = judgement.created <= until or judgement.metric.startswith(JUDGE)
    if in_time and (before is None or judgement.created >= before.created):
        newest[judgement.metric] = judgement


def _past_unit(kind: Unit, answer: Answer) -> str:
    """What an answer from before would have been assigned by."""
    if kind is Unit.KEY:
        return unit_digest(answer.key)
    if kind is Unit.USER and isinstance(answer, Said):
        user = answer.request.safety_identifier or answer.request.user
        return unit_digest(user) if isinstance(user, str) else ""
    return answer.unit
