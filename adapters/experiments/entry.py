"""One experiment on record: its design, how far it has come, and by whom it is moved."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Row

from adapters.experiments.assignment import Split
from adapters.experiments.conversations import IDLE_SECONDS, Kept
from adapters.experiments.design import Experiment
from adapters.experiments.reading import read_experiment
from adapters.store import instant


class State(StrEnum):
    """How far an experiment is: a frozen one goes on splitting, and does not move."""

    RUNNING = "running"
    FROZEN = "frozen"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Why:
    """Who moves an experiment, and on what grounds; kept in the audit log."""

    actor: str = "unknown"
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


UNSAID = Why()


@dataclass(frozen=True, slots=True)
class Entry:
    """An experiment and where it stands: `percent` is its stage, None for a fixed split; `start`
    is where its share of the layer begins."""

    experiment: Experiment
    state: State
    percent: float | None
    weights: Mapping[str, float]
    kept: Kept
    start: float
    created: str
    moved: str
    stopped: str | None

    @property
    def split(self) -> Split:
        over = None if self.stopped is None else instant(self.stopped) + IDLE_SECONDS
        return Split(self.experiment, self.weights, self.start, self.kept, until=over)

    @property
    def dropped(self) -> frozenset[str]:
        """Arms that were rolled back while the others go on."""
        tested = self.experiment.live[1:]
        return frozenset(a.name for a in tested if a.weight > 0 and self.weights[a.name] == 0)

    @property
    def shares(self) -> dict[str, float]:
        """Percent of the experiment's units by arm, the holdout left out."""
        total = sum(self.weights.values())
        arms = (arm.name for arm in self.experiment.live)
        return {name: 100 * self.weights[name] / total for name in arms}

    def to_json(self) -> dict[str, Any]:
        """The design, and beside its fields the state."""
        state = {item: getattr(self, item) for item in ("state", "percent", "weights", "start")}
        times = {"created": self.created, "moved": self.moved, "stopped": self.stopped}
        return {**asdict(self.experiment), **state, "kept": len(self.kept), **times}

    @property
    def standing(self) -> dict[str, Any]:
        """What the audit log says of it before and after a move."""
        return {
            "state": self.state,
            "percent": self.percent,
            "weights": dict(self.weights),
            "kept": len(self.kept),
        }

    @classmethod
    def of(cls, row: Row[Any]) -> "Entry":
        """As a row of the store has it."""
        return cls(
            experiment=read_experiment(row.design),
            state=State(row.state),
            percent=row.percent,
            weights=row.weights,
            kept={session: (arm, chance) for session, (arm, chance) in row.kept.items()},
            start=row.start,
            created=row.created,
            moved=row.moved,
            stopped=row.stopped,
        )
