"""The routers in the artifact root, first and second stages, each read once for as long as its
folder stays as it is."""

import logging
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from adapters.experiments.assignment import Split
from gateway.settings import Settings
from router.errors import RouterError
from router.router import MANIFEST, Router, current_folder
from router.second.stage import Cascade, SecondStage

logger = logging.getLogger(__name__)

Stamp = tuple[int, int]


class _Read(Struct, frozen=True):
    basis: tuple[Stamp, float | None, bool]
    cascade: Cascade


class Routers:
    """Reading a second stage takes 0.3 s and 100 MiB, so what was read is kept."""

    def __init__(self) -> None:
        self._read: dict[Path, _Read] = {}

    def current(self, settings: Settings) -> Cascade | None:
        """The router that serves; None before the first fit.

        Raises RouterError if it cannot be read.
        """
        folder = current_folder(settings.artifact_root / "router")
        return self._cascade(folder, settings) if folder else None

    def with_experiments(
        self, settings: Settings, splits: Iterable[Split], current: Cascade | None
    ) -> dict[str, Cascade]:
        """By version, the current one and those of experiments; of one that cannot be loaded, the
        log says why. What is not among them is no longer kept."""
        found = {current.first.version: current} if current is not None else {}
        named = {arm.router for split in splits for arm in split.experiment.arms if arm.router}
        for version in sorted(named - found.keys()):
            try:
                found[version] = self._cascade(
                    settings.artifact_root / "router" / version, settings
                )
            except (RouterError, OSError) as exc:
                logger.error(
                    "an experiment's router was not loaded, the current one decides: %s", exc
                )
        live = set(map(id, found.values()))
        self._read = {path: read for path, read in self._read.items() if id(read.cascade) in live}
        return found

    def _cascade(self, folder: Path, settings: Settings) -> Cascade:
        """With an endpoint as second stage, without the router's own."""
        threshold, remote = settings.router.threshold, settings.router.second is not None
        basis = (stamp_of(folder / MANIFEST), threshold, remote)
        known = self._read.get(folder)
        if known is not None and known.basis == basis:
            return known.cascade
        first = Router.load(folder, threshold)
        cascade = Cascade(first, None if remote else SecondStage.load(folder, threshold))
        self._read[folder] = _Read(basis, cascade)
        return cascade


def stamp_of(path: Path) -> Stamp:
    """Changes when the file does."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_ino)
