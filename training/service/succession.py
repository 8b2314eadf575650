"""A rollout for each challenger that a triggered job made: what follows is the experiment's.

Knows when one begins and as what; how it moves, and who wins, is `adapters.experiments`' business.
"""

import logging
from collections.abc import Sequence

from adapters.errors import AdapterError, InvalidExperiment
from adapters.experiments.book import ExperimentBook
from adapters.experiments.design import Experiment
from adapters.experiments.entry import Why
from adapters.experiments.plan import Plan
from adapters.job import TRIGGER, JobState, Level, Note, TrainingJob
from adapters.jobs import JobBook
from adapters.registry import Aliases, Registry
from adapters.store import Store

logger = logging.getLogger(__name__)

ACTOR = "succession"


class Succession:
    """Begins rollouts. Any number of processes may look: the first to begin one has begun it."""

    def __init__(
        self, store: Store, registry: Registry, plan: Plan, domains: Sequence[str]
    ) -> None:
        self._jobs = JobBook(store)
        self._registry = registry
        self._experiments = ExperimentBook(store, registry)
        self._plan = plan
        self._domains = domains
        self._waiting: dict[str, str] = {}

    def look(self) -> list[Experiment]:
        """The rollouts that begin now; one that has to wait is asked for again at the next look,
        and said once why."""
        begun: list[Experiment] = []
        if not self._plan.automatic:
            return begun
        for domain in self._domains:
            aliases = self._registry.aliases().get(domain, Aliases())
            job = None if aliases.challenger is None else self._made(domain, aliases.challenger)
            if job is None or aliases.challenger is None:
                continue
            design = self._plan.experiment(domain, aliases.champion, aliases.challenger)
            try:
                self._experiments.begin(design, Why(ACTOR, f"made by {job.id}"))
            except InvalidExperiment as exc:
                self._wait(job, str(exc))
                continue
            self._jobs.note(job.id, [Note(f"Its rollout began: experiment {design.name}.")])
            begun.append(design)
        return begun

    def _made(self, domain: str, version: str) -> TrainingJob | None:
        """The triggered job that made a version which had no rollout yet."""
        if any(entry.experiment.name == version for entry in self._experiments.entries()):
            return None
        made = (job for job in self._jobs.jobs(domain=domain, limit=100) if job.version == version)
        job = next(made, None)
        by_itself = job is not None and (job.owner, job.state) == (TRIGGER, JobState.SUCCEEDED)
        return job if by_itself else None

    def _wait(self, job: TrainingJob, reason: str) -> None:
        if self._waiting.get(job.id) == reason:
            return
        self._waiting[job.id] = reason
        try:
            self._jobs.note(job.id, [Note(f"Its rollout waits: {reason}.", level=Level.WARN)])
        except AdapterError as exc:
            logger.warning("%s: its rollout waits (%s), and that cannot be noted", job.id, exc)
