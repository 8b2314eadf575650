"""Where a killed run goes on: folders `checkpoint-STEP`, as transformers reads them.

Each appears whole or not at all. Knows nothing of what a checkpoint holds.
"""

import shutil
from pathlib import Path

_KEPT = 2
_ASIDE = ".saving"


def newest(folder: Path) -> Path | None:
    """The checkpoint with the most steps, if there is one."""
    return max(_checkpoints(folder), key=_step, default=None)


def aside(folder: Path) -> Path:
    """Where a checkpoint is written before it counts."""
    return folder / _ASIDE


def admit(folder: Path, name: str) -> None:
    """Move the checkpoint that was written aside into its place, and the oldest ones out."""
    shutil.rmtree(folder / name, ignore_errors=True)
    (aside(folder) / name).rename(folder / name)
    for old in sorted(_checkpoints(folder), key=_step)[:-_KEPT]:
        shutil.rmtree(old)


def clear(folder: Path) -> None:
    """Take away every checkpoint of a run, and what a killed one was writing."""
    for one in (aside(folder), *_checkpoints(folder)):
        shutil.rmtree(one, ignore_errors=True)


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if _name(path).isdecimal()]


def _step(checkpoint: Path) -> int:
    return int(_name(checkpoint))


def _name(checkpoint: Path) -> str:
    return checkpoint.name.removeprefix("checkpoint-")
