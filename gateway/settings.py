"""Every setting, with its type, its bounds and how to choose it. Where the values come from is
`gateway.configuration`'s business.
"""

import difflib
import os
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from adapters.artifacts import Artifacts
from adapters.remote import is_url, url_problem
from gateway.router_settings import Group, RouterSettings
from gateway.training_settings import TrainingSettings

PREFIX = "TURNOUT_"


class Server(Group):
    host: str = Field(
        "127.0.0.1", description="Address both listeners bind; 0.0.0.0 in a container."
    )
    port: int = Field(8080, ge=0, le=65535, description="Inference listener; 0 takes a free port.")
    admin_port: int = Field(8081, ge=0, le=65535, description="Admin listener; keep it private.")
    workers: int = Field(
        1,
        ge=1,
        le=256,
        description="Gateway processes behind both listeners; at most one for each free core.",
    )
    max_body_bytes: int = Field(
        8 * 2**20,
        ge=1024,
        description="Larger request bodies get 413; raise it for long documents.",
    )
    max_inflight: int = Field(
        512,
        ge=1,
        description="Requests answered at once; more get 429. Size it to what engines can queue.",
    )
    max_shadows: int = Field(
        4,
        ge=0,
        description="Answers of shadow arms under way at once, per worker; more are dropped.",
    )


class StoreSettings(Group):
    url: str | None = Field(
        None, description="SQLAlchemy URL; default: turnout.db in the state folder."
    )


class ArtifactSettings(Group):
    root: str | None = Field(
        None,
        min_length=1,
        description="Adapters, indexes, routers: a folder; default: artifacts in the state folder. "
        "Or an fsspec URL such as s3://bucket/turnout for adapters that several hosts share.",
    )

    @field_validator("root")
    @classmethod
    def _can_be_opened(cls, root: str | None) -> str | None:
        if root is not None and is_url(root) and (problem := url_problem(root)):
            raise ValueError(problem)
        return root


class Models(Group):
    cache: Path = Field(
        Path("~/.cache/turnout/models"),
        description="Where the default models are prepared, once per machine.",
    )
    embeddings: Path | None = Field(
        None,
        description="Folder of a model2vec model; default: one distilled from all-MiniLM-L6-v2.",
    )


class Engine(Group):
    name: str = Field(min_length=1, description="How targets and packs refer to it.")
    kind: Literal["vllm", "embedded", "openai"] = Field(
        "vllm", description="openai: a remote provider; no adapters, no health to ask for."
    )
    urls: tuple[str, ...] = Field(
        min_length=1,
        description="Base URLs of its replicas, without /v1; may change while the gateway runs.",
    )
    dns: bool = Field(
        False,
        description="Every address behind the host names in urls is a replica, looked up again "
        "each second (headless services); http only.",
    )
    model: str = Field(min_length=1, description="Served base model name.")
    path: Path | None = Field(
        None,
        description="Base model's folder on this host: checked against adapters where the engine's "
        "own path is not readable here; what the embedded engine loads.",
    )
    key: SecretStr | None = Field(None, description="Bearer key the engine asks for.")
    key_env: str | None = Field(
        None, description="Environment variable that holds the key, in place of `key`."
    )
    max_loras: int = Field(
        4, ge=1, description="As the engine was started: adapters in one batch; others wait."
    )
    max_cpu_loras: int = Field(
        16,
        ge=1,
        description="As the engine was started: adapters a replica holds; fit it to the live ones.",
    )
    max_lora_rank: int = Field(64, ge=1, description="As the engine was started.")
    connect_timeout: float = Field(
        2, gt=0, description="Seconds to open a connection before another replica is tried."
    )
    timeout: float = Field(
        300, gt=0, description="Seconds without a byte from a replica before giving it up."
    )
    deadline: float = Field(
        600, gt=0, description="Seconds for all tries together, until an answer begins."
    )
    load_timeout: float = Field(
        30, gt=0, description="Seconds a request waits for a version to be loaded on demand."
    )

    @property
    def bearer(self) -> str | None:
        """The key to send, from wherever it is configured."""
        if self.key_env is not None:
            return os.environ.get(self.key_env)
        return self.key.get_secret_value() if self.key else None

    @field_validator("urls")
    @classmethod
    def _are_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"{url!r} is not an http or https URL")
        return tuple(url.rstrip("/") for url in urls)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.max_cpu_loras < self.max_loras:
            raise ValueError(
                f"max_cpu_loras {self.max_cpu_loras} is below max_loras {self.max_loras}"
            )
        if self.key_env is not None and not os.environ.get(self.key_env):
            raise ValueError(f"key_env: the environment has no {self.key_env}")
        if self.dns and any(url.startswith("https") for url in self.urls):
            raise ValueError("dns: certificates name hosts, not addresses; use http URLs")
        return self


class Price(Group):
    input: float = Field(0.0, ge=0, description="Per million prompt tokens.")
    output: float = Field(0.0, ge=0, description="Per million completion tokens.")


class Target(Group):
    name: str = Field(
        pattern=r"^[a-z][a-z0-9_-]{0,31}$",
        description="A general tier; the first one gets `auto`'s.",
    )
    engine: str = Field(description="The engine whose base model answers.")
    price: Price = Field(Price(), description="What its tokens cost, for the cost metrics.")


class PackSettings(Group):
    path: Path = Field(description="The pack's folder.")
    engine: str = Field(description="The engine that serves its adapters.")


class JournalSettings(Group):
    drain_seconds: float = Field(
        0.5, gt=0, le=60, description="Pause between deliveries to the store."
    )
    limit_bytes: int = Field(
        4 * 2**30, ge=2**20, description="Most the journal may hold for a store that is down."
    )


class FeedbackSettings(Group):
    per_minute: int = Field(
        600,
        ge=1,
        le=10**6,
        description="Pieces a minute that a key may give, a minute's worth of them at once; more "
        "get 429. Each worker counts for itself.",
    )
    per_answer: int = Field(
        20,
        ge=1,
        le=1000,
        description="Pieces on one answer, repeats not counted; more get 400. Raise it where many "
        "people judge one answer.",
    )


class ExperimentSettings(Group):
    automatic: bool = Field(
        True,
        description="Rollouts move by themselves; false where `turnout experiments watch` runs.",
    )
    look_seconds: float = Field(
        60,
        ge=1,
        le=86_400,
        description="Between looks at an experiment; harm is seen after so long at the latest.",
    )


class Settings(BaseSettings):
    """The whole configuration, frozen."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    config_file: Path | None = Field(
        None, description="Where the file's values came from; set by `load`."
    )
    state: Path = Field(Path("state"), description="Folder of everything this system writes.")
    server: Server = Server()
    store: StoreSettings = StoreSettings()
    artifacts: ArtifactSettings = ArtifactSettings()
    models: Models = Models()
    router: RouterSettings = RouterSettings()
    journal: JournalSettings = JournalSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    experiments: ExperimentSettings = ExperimentSettings()
    training: TrainingSettings = TrainingSettings()
    engines: tuple[Engine, ...] = ()
    targets: tuple[Target, ...] = ()
    packs: tuple[PackSettings, ...] = ()
    aliases: dict[str, str] = Field(
        default_factory=dict,
        description='Names existing applications use, e.g. "gpt-4o-mini" = "auto".',
    )
    bootstrap_key: SecretStr | None = Field(
        None, description="First admin key; set it from the environment."
    )

    @property
    def store_url(self) -> str:
        return self.store.url or f"sqlite:///{self.state}/turnout.db"

    @property
    def artifact_root(self) -> Path:
        """The local place of indexes and routers, also when adapters have a remote root."""
        root = self.artifacts.root
        return self.state / "artifacts" if root is None or is_url(root) else Path(root)

    @property
    def versions(self) -> Artifacts:
        """Where adapter versions lie."""
        return Artifacts(self.artifacts.root or self.artifact_root, self.state / "cache")

    @property
    def model_cache(self) -> Path:
        return self.models.cache.expanduser()

    def engine(self, name: str) -> Engine:
        return next(engine for engine in self.engines if engine.name == name)

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        names = [engine.name for engine in self.engines]
        if len(set(names)) != len(names):
            raise ValueError(f"two engines share a name: {names}")
        used = [target.engine for target in self.targets] + [pack.engine for pack in self.packs]
        for name in used:
            if name not in names:
                near = difflib.get_close_matches(name, names, 1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; engines are {names}"
                raise ValueError(f"engine {name!r} is not configured{hint}")
        if self.engines and not self.targets:
            raise ValueError("no [[targets]]: name at least one general model")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # `load` passes the file's values as init arguments, so the environment must stand before
        # them.
        return env_settings, init_settings
