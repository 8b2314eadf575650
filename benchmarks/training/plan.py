"""What a run of `turnout bench training` measures, and where it works."""

from dataclasses import dataclass
from pathlib import Path

PHASES = ("domains", "share", "throughput")


@dataclass(frozen=True, slots=True)
class Plan:
    """Models, data and amounts.

    Args:
        encoder: of the passages.
        work: holds answers, indexes and models, so that an interrupted run goes on.
        adapters: a state folder with an adapter version for every domain; None trains them.
        names: of the domains.
        rows: per task, to train on and to ask; None for all.
        epochs: instead of each domain's own.
        general_rows: of each capability that is asked after training.
        search_rows: to choose learning rates by.
        speed_rows: to train on in each round of the throughput phase.
    """

    base: Path
    encoder: Path
    data: Path
    work: Path
    names: tuple[str, ...]
    adapters: Path | None = None
    rows: int | None = None
    epochs: int | None = None
    threads: int = 1
    general_rows: int = 50
    search_rows: int = 640
    speed_rows: int = 128
    rounds: int = 3
