"""What the training verbs need of the command's workspace."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from adapters.artifacts import Artifacts


class Workspace(Protocol):
    """Configured places and what the settings say of training, read when they are asked for."""

    @property
    def state(self) -> Path:
        """State directory."""

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the store."""

    @property
    def versions(self) -> Artifacts:
        """Where adapter versions lie."""

    @property
    def artifact_root(self) -> str:
        """Where adapter versions and uploads lie: a folder or a URL."""

    @property
    def artifacts(self) -> Path:
        """Where indexes lie, in a folder of that name."""

    @property
    def base_model(self) -> Path:
        """Folder of the base model."""

    @property
    def encoder(self) -> Path:
        """Folder of the embedding model; prepared when it is asked for."""

    @property
    def packs(self) -> tuple[Path, ...]:
        """Folders of the configured packs."""

    @property
    def general(self) -> Path | None:
        """Chat file that is mixed in against forgetting."""

    @property
    def general_share(self) -> float:
        """Share of its rows among all."""

    @property
    def grounded_share(self) -> float:
        """Share of a domain's rows that are learned with passages."""

    @property
    def trial(self) -> Mapping[str, Any]:
        """How much a trial asks."""

    @property
    def protect(self) -> tuple[Path, ...]:
        """Chat files of what adapters may not forget."""

    @property
    def opted_out(self) -> tuple[str, ...]:
        """Keys whose answers are never trained on."""

    @property
    def triggers(self) -> Mapping[str, Any]:
        """What `Rules` takes."""

    @property
    def rollout(self) -> Mapping[str, Any]:
        """What `Plan` takes."""

    @property
    def development_key(self) -> str | None:
        """Key of the system that runs on this state folder, if `turnout up` made one."""
