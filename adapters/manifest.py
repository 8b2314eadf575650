"""What an adapter version is: its manifest, and the check that a folder still is what its manifest
says.

Nothing here loads weights into a model; reading bytes is enough to refuse what must not be served.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from adapters.errors import CorruptAdapter
from adapters.files import MAX_FILES, check_files, check_name, file_digest, read_bounded
from adapters.lora import CONFIG, WEIGHTS, check_adapter

MANIFEST = "manifest.json"
CARD = "README.md"
MAX_MANIFEST_BYTES = 4 * 2**20
DOMAIN_PATTERN = r"[a-z][a-z0-9_-]{0,31}"
VERSION_PATTERN = rf"^{DOMAIN_PATTERN}--v[0-9]{{1,9}}-[0-9a-f]{{8}}$"


class Metric(BaseModel):
    """One evaluation figure: candidate and base on the same rows, with the interval of their
    difference."""

    model_config = ConfigDict(frozen=True)

    task: str
    metric: str
    n: int
    score: float
    base_score: float
    ci95: tuple[float, float]


class Comparison(BaseModel):
    """A candidate and a rival on the same rows of a task, with the 95 % interval of their
    difference; `p_better` is corrected for the number of tasks, `p_worse` is not."""

    model_config = ConfigDict(frozen=True)

    rival: str
    task: str
    metric: str
    n: int
    score: float
    rival_score: float
    ci95: tuple[float, float]
    p_better: float
    p_worse: float


class Capability(BaseModel):
    """What a candidate kept of something that the base model can do and that is not its domain."""

    model_config = ConfigDict(frozen=True)

    name: str
    metric: str
    n: int
    score: float
    base_score: float
    ci95: tuple[float, float]
    retention: Literal["kept", "lost", "unsure", "unprotected"]


class TrainingFacts(BaseModel):
    """What training knows about a candidate before it has a version name.

    Args:
        metrics: against the plain base model; `comparisons` are those against every rival.
        learned_from: digests of the rows that it was trained on and validated by.
        settings: of the training, all of them.
        environment: versions of libraries, processor threads, device: what bits depend on.
        gate: what the verdict was reached by beside the figures: limits, prompts, leaks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_model: str
    base_config_hash: str
    chat_template_hash: str
    rank: int
    target_modules: tuple[str, ...]
    method: Literal["sft", "dpo", "kto"] = "sft"
    rslora: bool = False
    base_revision: str | None = None
    parent_version: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    seeds: dict[str, int] = Field(default_factory=dict)
    learned_from: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    environment: dict[str, Any] = Field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    capabilities: tuple[Capability, ...] = ()
    gate: dict[str, Any] = Field(default_factory=dict)
    verdict: Literal["pass", "fail", "inconclusive", "invalid", "unjudged"] = "unjudged"
    verdict_reason: str = ""
    code_version: str = ""


class Manifest(TrainingFacts):
    """A version's `manifest.json`: the facts, its name, and the digest of every file beside it."""

    version: str = Field(pattern=VERSION_PATTERN)
    domain: str
    number: int = Field(ge=1)
    created: str
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(max_length=MAX_FILES)

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        """Names become parts of paths, so none may lead anywhere else."""
        if not self.version.startswith(f"{self.domain}--v{self.number}-"):
            raise ValueError(
                f"{self.version} is not version {self.number} of the domain {self.domain!r}"
            )
        if missing := {CONFIG, WEIGHTS} - self.files.keys():
            raise ValueError(f"files lacks {min(missing)}")
        if MANIFEST in self.files:
            raise ValueError(f"files lists {MANIFEST} itself")
        try:
            for name in self.files:
                check_name(name, "files")
        except CorruptAdapter as exc:
            raise ValueError(str(exc)) from exc
        return self

    @classmethod
    def of(
        cls, facts: TrainingFacts, *, version: str, created: str, files: dict[str, str]
    ) -> "Manifest":
        """A new version's manifest; raises CorruptAdapter when the files cannot be a version's."""
        domain, _, number = version.rpartition("-")[0].rpartition("--v")
        named = {"version": version, "domain": domain, "number": int(number)}
        try:
            return cls(**facts.model_dump(), **named, created=created, files=files)
        except ValidationError as exc:
            raise CorruptAdapter(f"{version}: {_first_problem(exc)}") from exc

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Parse `folder/manifest.json`; raises CorruptAdapter when it is missing or not a
        manifest."""
        content = read_bounded(folder / MANIFEST, MAX_MANIFEST_BYTES)
        try:
            return cls.model_validate_json(content)
        except (ValidationError, RecursionError) as exc:
            raise CorruptAdapter(f"{folder / MANIFEST}: {_first_problem(exc)}") from exc


def _first_problem(exc: ValidationError | RecursionError) -> str:
    if not isinstance(exc, ValidationError):
        return "nested too deeply"
    problem = exc.errors()[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"


def config_hash(model_folder: Path) -> str:
    """SHA-256 of a base model's `config.json` in canonical form: the identity a LoRA was trained
    against.

    Fields that name the software or the path, not the weights, are left out.
    """
    config = json.loads((model_folder / "config.json").read_text(encoding="utf-8"))
    for name in ("transformers_version", "_name_or_path", "torch_dtype", "dtype"):
        config.pop(name, None)
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def verify(folder: Path) -> Manifest:
    """Check a published version: manifest, exact file set, digests, configuration, finite weights.

    Raises:
        CorruptAdapter: names the first thing that is wrong.
    """
    manifest = Manifest.read(folder)
    if folder.name != manifest.version:
        raise CorruptAdapter(f"{folder}: the manifest belongs to {manifest.version}")
    check_files(folder)
    try:
        present = {path.name for path in folder.iterdir()} - {MANIFEST}
        if odd := present ^ manifest.files.keys():
            raise CorruptAdapter(
                f"{folder}: files differ from the manifest: {', '.join(sorted(odd))}"
            )
        for name, digest in manifest.files.items():
            if file_digest(folder / name) != digest:
                raise CorruptAdapter(f"{folder / name}: digest differs from the manifest")
    except OSError as exc:
        raise CorruptAdapter(f"{folder}: cannot be read ({exc})") from exc
    config = check_adapter(folder)
    if config["r"] != manifest.rank:
        raise CorruptAdapter(
            f"{folder}: the manifest says rank {manifest.rank}, {CONFIG} says {config['r']}"
        )
    return manifest
