"""Every setting, with its type, its bounds and how to choose it. Nothing else reads the
environment.

Sources, first wins: command-line overrides, `TURNOUT_*` variables, the TOML file. A name nobody
knows stops the start.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from adapters.artifacts import Artifacts
from adapters.remote import is_url, url_problem
from gateway.training_settings import TrainingSettings

PREFIX = "TURNOUT_"
CONFIG_FILE = "turnout.toml"
# Variables that are ours but no settings.
_OTHER_VARIABLES = frozenset({"TURNOUT_CONFIG", "TURNOUT_DATA"})


class ConfigurationError(Exception):
    """The configuration cannot be used; the message names the setting and the nearest right one."""


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(_Group):
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


class StoreSettings(_Group):
    url: str | None = Field(
        None, description="SQLAlchemy URL; default: turnout.db in the state folder."
    )


class ArtifactSettings(_Group):
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


class Models(_Group):
    cache: Path = Field(
        Path("~/.cache/turnout/models"),
        description="Where the default models are prepared, once per machine.",
    )
    embeddings: Path | None = Field(
        None,
        description="Folder of a model2vec model; default: one distilled from all-MiniLM-L6-v2.",
    )


class RouterSettings(_Group):
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Below this probability the general model answers; default: the fitted one.",
    )
    examples: tuple[Path, ...] = Field(
        (),
        description="JSONL files of {text, label} beside the packs' own, with the `general` lines.",
    )


class Engine(_Group):
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


class Price(_Group):
    input: float = Field(0.0, ge=0, description="Per million prompt tokens.")
    output: float = Field(0.0, ge=0, description="Per million completion tokens.")


class Target(_Group):
    name: str = Field(
        pattern=r"^[a-z][a-z0-9_-]{0,31}$",
        description="A general tier; the first one gets `auto`'s.",
    )
    engine: str = Field(description="The engine whose base model answers.")
    price: Price = Field(Price(), description="What its tokens cost, for the cost metrics.")


class PackSettings(_Group):
    path: Path = Field(description="The pack's folder.")
    engine: str = Field(description="The engine that serves its adapters.")


class JournalSettings(_Group):
    drain_seconds: float = Field(
        0.5, gt=0, le=60, description="Pause between deliveries to the store."
    )
    limit_bytes: int = Field(
        4 * 2**30, ge=2**20, description="Most the journal may hold for a store that is down."
    )


class FeedbackSettings(_Group):
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


class ExperimentSettings(_Group):
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


def load(config: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the configuration file, the environment and `overrides` (dotted names, from the command
    line).

    Raises:
        ConfigurationError: one line that names the file, the setting and, for a misspelling, the
        nearest right one.
    """
    path = config or _found_file()
    values = {**_read_toml(path), "config_file": path} if path else {}
    _reject_unknown_variables(os.environ)
    try:
        settings = Settings(**values)
        return _override(settings, overrides or {})
    except ValidationError as exc:
        raise ConfigurationError(_explain(exc, path)) from exc


def _override(settings: Settings, overrides: Mapping[str, Any]) -> Settings:
    for dotted, value in overrides.items():
        if value is None:
            continue
        group, _, name = dotted.rpartition(".")
        if group:
            part = getattr(settings, group)
            changed = type(part).model_validate({**part.model_dump(), name: value})
            settings = settings.model_copy(update={group: changed})
        else:
            settings = settings.model_copy(update={name: value})
    return settings


def _found_file() -> Path | None:
    if named := os.environ.get("TURNOUT_CONFIG"):
        return Path(named)
    return Path(CONFIG_FILE) if Path(CONFIG_FILE).exists() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigurationError(f"{path}: cannot be read ({exc.strerror})") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{path}: not valid TOML ({exc})") from exc


def _reject_unknown_variables(environment: Mapping[str, str]) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for variable in environment:
        head = variable.split("__")[0]
        if variable.startswith(PREFIX) and head not in known | _OTHER_VARIABLES:
            raise ConfigurationError(f"environment variable {variable}: {_nearest(head, known)}")


def _explain(exc: ValidationError, path: Path | None) -> str:
    """The first problem as one line; pydantic's own text covers several screens."""
    # A misspelled name is also a missing one; the misspelling is what to tell.
    problem = min(exc.errors(), key=lambda found: found["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in problem["loc"]) or "configuration"
    source = f"{path}: " if path else ""
    if problem["type"] != "extra_forbidden":
        return f"{source}{where}: {problem['msg'].removeprefix('Value error, ')}"
    return f"{source}{where}: {_nearest(str(problem['loc'][-1]), _siblings(problem['loc']))}"


def _siblings(location: tuple[int | str, ...]) -> set[str]:
    """The setting names that are right beside `location`."""
    model: type[BaseModel] = Settings
    for part in location[:-1]:
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            inner = getattr(annotation, "__args__", (annotation,))[0]
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                model = inner
    return set(model.model_fields)


def _nearest(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), 1, cutoff=0.5)
    return (
        f"no such setting; did you mean {near[0]!r}?"
        if near
        else f"no such setting; known: {', '.join(sorted(known))}"
    )
