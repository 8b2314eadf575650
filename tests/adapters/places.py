"""As much of a workspace as the verbs of `adapters` need, in a temporary folder."""

from dataclasses import dataclass
from pathlib import Path

from adapters.artifacts import Artifacts
from adapters.experiments.shelf import Shelf


@dataclass(frozen=True)
class Place:
    """Packs are the folders under `packs`; arms may name nothing but versions."""

    folder: Path

    @property
    def store_url(self) -> str:
        return f"sqlite:///{self.folder}/turnout.db"

    @property
    def versions(self) -> Artifacts:
        return Artifacts(self.folder / "artifacts", self.folder / "cache")

    @property
    def packs(self) -> tuple[Path, ...]:
        return tuple(self.folder.glob("packs/*"))

    def shelf(self) -> Shelf:
        return Shelf()
