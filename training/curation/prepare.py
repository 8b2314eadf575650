"""The one way from sources to the parts that a run trains and tests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.curation.curate import Dataset, Filters, Progress, curate, reasons
from training.curation.removal import Removed
from training.curation.sources import Sources
from training.curation.split import Split, leaked, split
from training.errors import Leaked, TooFewRows
from training.rows import Row


@dataclass(frozen=True, slots=True)
class Prepared:
    """A dataset and its parts; `evaluations` are the rows of each evaluation set by its name,
    `index` the version whose passages some of the rows to learn from have."""

    domain: str
    dataset: Dataset
    parts: Split
    evaluations: Mapping[str, int]
    index: str | None = None

    @property
    def removed(self) -> tuple[Removed, ...]:
        """Everything that was left out, by the sources, the filters and the split."""
        return (*self.dataset.removed, *self.parts.contaminated)


def prepare(
    domain: str,
    found: Sources,
    filters: Filters | None = None,
    *,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Prepared:
    """Curate and split; raises Leaked if a near-copy is left all the same, TooFewRows if too little
    is."""
    dataset = curate(found.rows, found.removed, found.general, filters, progress)
    try:
        parts = split(dataset.rows, found.held_out, evaluations=found.evaluations, seed=seed)
    except TooFewRows as exc:
        raise TooFewRows(f"{exc} (before: {reasons(dataset.removed)})") from exc
    refuse_leaks(parts, found.evaluations)
    sizes = {name: len(rows) for name, rows in found.evaluations.items()}
    return Prepared(domain, dataset, parts, sizes)


def refuse_leaks(parts: Split, evaluations: Mapping[str, Sequence[Row]]) -> None:
    """Raises Leaked if a test row, or one of `evaluations`, is a near-copy of a training row."""
    seen = (*parts.train, *parts.validation)
    counts = {name: leaked(seen, rows) for name, rows in evaluations.items()}
    counts["the test part"] = leaked(parts.train, parts.test)
    if found := {name: count for name, count in counts.items() if count}:
        named = ", ".join(f"{count} of {name}" for name, count in found.items())
        raise Leaked(f"evaluation rows that are near-copies of training rows: {named}")
