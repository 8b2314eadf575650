"""When a domain's next adapter is trained without anybody asking, and when it may not be.

Knows when, and why; what is trained then comes out of the log.
"""

import math
import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Self

from cronsim import CronSim
from sqlalchemy import distinct, func, not_, select

from adapters import tables
from adapters.experiments.measures import JUDGE
from adapters.job import TRIGGER, JobState, TrainingJob, TrainingRequest
from adapters.jobs import JobBook
from adapters.store import Store

# Less is not worth loading a model for.
LEAST_MINUTES = 1.0


@dataclass(frozen=True, slots=True)
class Hours:
    """A part of the day, on the host's clock; it may go through midnight."""

    begin: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `22:00-06:00`; raises ValueError."""
        begin, _, end = text.partition("-")
        return cls(time.fromisoformat(begin), time.fromisoformat(end))

    def holds(self, now: datetime) -> bool:
        at = now.time()
        if self.begin <= self.end:
            return self.begin <= at < self.end
        return at >= self.begin or at < self.end


@dataclass(frozen=True, slots=True)
class Rules:
    """What triggers a run, and what holds it back; None means not at all.

    Args:
        feedback: so many usable judged answers since the last run.
        schedule: in cron's five fields, on the host's clock.
        drift: so high a value of the drift signal.
        cooldown_hours: how long a domain waits after a run that came to nothing, and drift, which
            a new adapter does not take away, after any run.
        minutes: of training, in a run. `minutes_per_day` are those of all runs, evaluation too.
        only_between, never_between: `HH:MM-HH:MM`, when runs may be under way, and when not.
        domains: that are watched; none for all.
    """

    feedback: int | None = None
    schedule: str | None = None
    drift: float | None = None
    cooldown_hours: float = 24.0
    minutes: float | None = None
    minutes_per_day: float | None = None
    only_between: str | None = None
    never_between: str | None = None
    domains: tuple[str, ...] = ()


class Triggers:
    """Puts jobs into the queue when there is a reason.

    Args:
        domains: that have a pack.
        drift: a domain's drift signal, such as the PSI behind `turnout_drift`; None where nothing
            measures it.
    """

    def __init__(
        self,
        store: Store,
        rules: Rules,
        domains: Sequence[str],
        *,
        drift: Callable[[str], float | None] = lambda domain: None,
        now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
    ) -> None:
        self._store = store
        self._book = JobBook(store)
        self._rules = rules
        self._domains = [name for name in domains if not rules.domains or name in rules.domains]
        self._drift = drift
        self._now = now
        self._began = now()

    def look(self) -> list[TrainingJob]:
        """New jobs, for domains that have a reason, none waiting, and no failure just behind."""
        made = []
        for domain in self._domains:
            if self._book.waiting_for(domain) is not None:
                continue
            last = self._last(domain)
            if last is not None and self._cools_down(last):
                continue
            if reason := self._reason(domain, last):
                request = TrainingRequest(
                    domain=domain, model=domain, from_log=True, minutes=self._rules.minutes
                )
                made.append(self._book.add(request, TRIGGER, reason))
        return made

    def minutes(self) -> float:
        """How long a run may take that begins now: until hours or budget end it; 0 if it may not
        begin at all, infinity if nothing limits it."""
        now, rules = self._now(), self._rules
        left = math.inf
        if rules.only_between is not None:
            hours = Hours.parse(rules.only_between)
            left = min(left, _until(hours.end, now) if hours.holds(now) else 0.0)
        if rules.never_between is not None:
            hours = Hours.parse(rules.never_between)
            left = min(left, 0.0 if hours.holds(now) else _until(hours.begin, now))
        if rules.minutes_per_day is not None:
            left = min(left, rules.minutes_per_day - self._spent(now))
        return left if left >= LEAST_MINUTES else 0.0

    def _reason(self, domain: str, last: TrainingJob | None) -> str | None:
        rules = self._rules
        since = 0.0 if last is None else last.created
        if rules.feedback is not None:
            found = usable_answers(self._store, domain, since)
            if found >= rules.feedback:
                return f"{found} usable judged answers are new; {rules.feedback} are enough"
        if rules.schedule is not None:
            before = self._began if last is None else _local(last.created, self._began)
            if next(CronSim(rules.schedule, before)) <= self._now():
                return f"it is due by the schedule {rules.schedule!r}"
        rested = last is None or self._rested(last.created)
        if rules.drift is not None and rested:
            value = self._drift(domain)
            if value is not None and value >= rules.drift:
                return f"questions drifted: {value:.3f}, and {rules.drift:.3f} is enough"
        return None

    def _last(self, domain: str) -> TrainingJob | None:
        """The newest run from the log, whoever wanted it."""
        jobs = self._book.jobs(domain=domain, limit=100)
        return next((job for job in jobs if job.request.from_log), None)

    def _cools_down(self, last: TrainingJob) -> bool:
        if last.state is JobState.SUCCEEDED or last.finished is None:
            return False
        return not self._rested(last.finished)

    def _rested(self, instant: float) -> bool:
        """Whether the cool-down after an instant is over."""
        return self._now().timestamp() >= instant + self._rules.cooldown_hours * 3600

    def _spent(self, now: datetime) -> float:
        """Minutes that such runs took today."""
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
        jobs = tables.training_jobs.c
        query = select(func.sum(jobs.seconds)).where(
            jobs.owner == TRIGGER, func.coalesce(jobs.finished, clock.time()) >= midnight
        )
        with self._store.transaction() as connection:
            return float(connection.execute(query).scalar() or 0.0) / 60


def usable_answers(store: Store, domain: str, since: float) -> int:
    """How many answers people judged since then (unix seconds) that may be trained on."""
    answered, said = tables.interactions.c, tables.feedback.c
    query = (
        select(func.count(distinct(answered.id)))
        .select_from(tables.feedback.join(tables.interactions, answered.id == said.interaction_id))
        .where(
            said.created > since,
            not_(said.metric.startswith(JUDGE, autoescape=True)),
            answered.target == domain,
            answered.record["train"].as_boolean(),
            answered.record["shadow_of"].as_string().is_(None),
        )
    )
    with store.transaction() as connection:
        return int(connection.execute(query).scalar_one())


def _until(moment: time, now: datetime) -> float:
    """Minutes until the clock shows `moment` next."""
    then = now.replace(hour=moment.hour, minute=moment.minute, second=0, microsecond=0)
    if then <= now:
        then += timedelta(days=1)
    return (then - now).total_seconds() / 60


def _local(instant: float, like: datetime) -> datetime:
    return datetime.fromtimestamp(instant, like.tzinfo)
