"""What the `turnout` command hands to every verb: configured places, and data that several
packages' verbs share.

The verbs declare, as Protocols, which of these they need; nothing is read or prepared before it is
asked for.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import orjson

from adapters.artifacts import Artifacts
from adapters.experiments.shelf import Shelf
from adapters.packs import Pack, read_jsonl
from gateway.configuration import load
from gateway.model_cache import ModelCache
from gateway.settings import Settings
from gateway.shelf import shelf_of
from retrieval.documents import read_documents
from router.logged import Logged


class Workspace:
    """Settings and places, by the command line's `--config` and `--state`."""

    def __init__(self) -> None:
        self._places: dict[str, Path] = {}

    def place(self, option: str, path: Path) -> None:
        """Take `--config` or `--state` from the command line."""
        self._places[option] = path

    @cached_property
    def settings(self) -> Settings:
        return self.read_settings()

    def read_settings(self, overrides: Mapping[str, Any] | None = None) -> Settings:
        """Read configuration file and environment afresh; `overrides` by dotted name, None for
        unset."""
        return load(
            self._places.get("config"), {"state": self._places.get("state"), **(overrides or {})}
        )

    @property
    def state(self) -> Path:
        return self.settings.state

    @property
    def artifacts(self) -> Path:
        return self.settings.artifact_root

    @property
    def artifact_root(self) -> str:
        """Where adapter versions and uploads lie: a folder or a URL."""
        return self.settings.artifacts.root or str(self.settings.artifact_root)

    @property
    def triggers(self) -> Mapping[str, Any]:
        """What starts training, and what holds it back."""
        training = self.settings.training
        return {**training.triggers.model_dump(), "minutes": training.minutes}

    @property
    def trial(self) -> Mapping[str, Any]:
        """How much a candidate's trial asks."""
        return self.settings.training.trial.model_dump()

    @property
    def rollout(self) -> Mapping[str, Any]:
        """How a challenger of a triggered run is tried."""
        return self.settings.training.rollout.model_dump()

    @property
    def opted_out(self) -> tuple[str, ...]:
        """Keys whose answers are never trained on."""
        return self.settings.training.opted_out

    @property
    def general(self) -> Path | None:
        """Chat file that is mixed in against forgetting."""
        return self.settings.training.general

    @property
    def general_share(self) -> float:
        """Share of its rows among all."""
        return self.settings.training.general_share

    @property
    def grounded_share(self) -> float:
        """Share of a domain's rows that are learned with passages."""
        return self.settings.training.grounded_share

    @property
    def protect(self) -> tuple[Path, ...]:
        """Chat files of what adapters may not forget."""
        return self.settings.training.protect

    @property
    def versions(self) -> Artifacts:
        return self.settings.versions

    @property
    def store_url(self) -> str:
        return self.settings.store_url

    @cached_property
    def encoder(self) -> Path:
        return ModelCache(self.settings).encoder()

    @cached_property
    def base_model(self) -> Path:
        return ModelCache(self.settings).base_model()

    @property
    def development_key_file(self) -> Path:
        """Where `turnout up` keeps the key it prints, readable for its owner."""
        return self.state / "development.key"

    @property
    def development_key(self) -> str | None:
        """The key of a system that was started here with `turnout up`."""
        file = self.development_key_file
        return file.read_text().strip() if file.exists() else None

    def replica_states(self) -> dict[str, list[dict[str, str]]] | None:
        """Each version's state on each replica, asked of the running gateway; None where none
        answers at the configured admin address, or there is no key to ask with."""
        key = self.settings.bootstrap_key
        secret = key.get_secret_value() if key else self.development_key
        host = reachable(self.settings.server.host)
        request = Request(
            f"http://{host}:{self.settings.server.admin_port}/admin/v1/adapters",
            headers={"Authorization": f"Bearer {secret}"},
        )
        try:
            with urlopen(request, timeout=2) as answer:
                rows = orjson.loads(answer.read())
        except (OSError, ValueError):
            return None
        return {row["version"]: row["replicas"] for row in rows}

    @property
    def packs(self) -> tuple[Path, ...]:
        return tuple(entry.path for entry in self.settings.packs)

    def shelf(self) -> Shelf:
        """What arms of experiments may name beside adapter versions."""
        return shelf_of(self.settings, map(Pack.load, self.packs))

    def routing_examples(self) -> list[dict[str, str]]:
        """Routing lines of every pack, and of the files in `router.examples`."""
        lines = [line for path in self.packs for line in Pack.load(path).routing_examples()]
        for path in self.settings.router.examples:
            lines += [row for _, row in read_jsonl(path)]
        return lines

    def routing_documents(self) -> dict[str, list[str]]:
        """Document texts of every pack that has some, by the pack's name."""
        packs = [Pack.load(path) for path in self.packs]
        return {
            pack.name: [document.text for document in read_documents(pack.documents)]
            for pack in packs
            if pack.documents is not None
        }

    def logged(self, since: float | None = None, until: float | None = None) -> Iterator[Logged]:
        """Answers of the log, the oldest first, from `since` until before `until` (unix seconds);
        requests with `log: false` are not there."""
        from gateway.logged import read_logged  # with a store, which most verbs need not wait for

        return read_logged(self.settings, since, until)


def reachable(host: str) -> str:
    """Where a listener bound to `host` is reached from this machine."""
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host
