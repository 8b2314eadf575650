"""A pack: the folder that defines a domain (`pack.toml`, examples, documents, evaluation set).

Knows how to read and check one; knows nothing of what is trained or served from it.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from adapters.checks import AnyCheck
from adapters.errors import PackError
from adapters.probes import Probe

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,31}$"
RESERVED_NAMES = frozenset({"auto", "general", "base"})


class _Retrieval(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    top_k: int = Field(default=4, ge=0, le=50)
    min_score: float = Field(default=0.2, ge=-1.0, le=1.0)


class _PackFile(BaseModel):
    """`pack.toml`, field by field."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME_PATTERN)
    title: str = Field(min_length=1, max_length=200)
    description: str = Field(default="", max_length=2000)
    system_prompt: str = Field(default="", max_length=8000)
    retrieval: _Retrieval = _Retrieval()
    checks: tuple[AnyCheck, ...] = Field(default=(), max_length=50)
    probes: tuple[Probe, ...] = Field(default=(), max_length=20)

    @field_validator("checks", "probes")
    @classmethod
    def _names_are_different(
        cls, named: tuple[AnyCheck | Probe, ...], info: ValidationInfo
    ) -> tuple[AnyCheck | Probe, ...]:
        names = [one.name for one in named]
        if len(set(names)) != len(names):
            raise ValueError(f"two {info.field_name} share a name: {names}")
        return named


@dataclass(frozen=True, slots=True)
class Pack:
    """A domain as its folder defines it. The paths exist, except those that are None."""

    name: str
    title: str
    description: str
    system_prompt: str
    top_k: int
    min_score: float
    checks: tuple[AnyCheck, ...]
    probes: tuple[Probe, ...]
    folder: Path
    documents: Path | None
    train: Path | None
    eval: Path | None
    queries: Path | None

    @classmethod
    def load(cls, folder: Path) -> "Pack":
        """Read `folder/pack.toml` and find the files beside it.

        Raises:
            PackError: no pack.toml, a field that is wrong, or a pack with neither examples nor
            documents.
        """
        facts = _read_pack_file(folder / "pack.toml")
        pack = cls(
            name=facts.name,
            title=facts.title,
            description=facts.description,
            system_prompt=facts.system_prompt,
            top_k=facts.retrieval.top_k,
            min_score=facts.retrieval.min_score,
            checks=facts.checks,
            probes=facts.probes,
            folder=folder,
            documents=_first_existing(folder, "documents", "documents.jsonl"),
            train=_first_existing(folder, "train.jsonl"),
            eval=_first_existing(folder, "eval.jsonl"),
            queries=_first_existing(folder, "queries.jsonl"),
        )
        if pack.documents is None and pack.train is None and pack.queries is None:
            raise PackError(
                f"pack {folder} is empty: "
                "add documents/, train.jsonl or queries.jsonl beside pack.toml"
            )
        return pack

    def routing_examples(self) -> Iterator[dict[str, str]]:
        """Lines `{"text", "label", "slice"?}` for the router: the queries, then what users said in
        training rows."""
        if self.queries is not None:
            yield from (_routing_line(self.queries, n, row) for n, row in read_jsonl(self.queries))
        if self.train is not None:
            for _, row in read_jsonl(self.train):
                for message in row.get("messages", []):
                    if message.get("role") == "user" and isinstance(message.get("content"), str):
                        yield {"text": message["content"], "label": self.name}


def checks_of(domain: str, folders: Iterable[Path]) -> tuple[AnyCheck, ...]:
    """The checks of a domain, from its pack in one of these folders; none without a pack."""
    packs = map(Pack.load, folders)
    return next((pack.checks for pack in packs if pack.name == domain), ())


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of a JSONL file; blank lines are passed over.

    Raises:
        PackError: a line that is not a JSON object, or a file that is not UTF-8; names file and
        line.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as exc:
                    raise PackError(f"{path}:{number}: not valid JSON ({exc})") from exc
                if not isinstance(row, dict):
                    raise PackError(f"{path}:{number}: expected a JSON object, found {line[:40]!r}")
                yield number, row
    except UnicodeDecodeError as exc:
        raise PackError(f"{path}: not UTF-8 text ({exc})") from exc
    except OSError as exc:
        raise PackError(f"{path}: cannot be read ({exc.strerror})") from exc


def _read_pack_file(path: Path) -> _PackFile:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise PackError(f"{path} does not exist; `turnout pack new NAME` makes one") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise PackError(f"{path}: not valid TOML ({exc})") from exc
    except OSError as exc:
        raise PackError(f"{path}: cannot be read ({exc.strerror})") from exc
    try:
        facts = _PackFile.model_validate(data)
    except ValidationError as exc:
        problem = exc.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise PackError(f"{path}: {where}: {problem['msg'].removeprefix('Value error, ')}") from exc
    if facts.name in RESERVED_NAMES:
        raise PackError(f"{path}: the name {facts.name!r} is reserved; choose another")
    return facts


def _first_existing(folder: Path, *names: str) -> Path | None:
    return next((folder / name for name in names if (folder / name).exists()), None)


def _routing_line(path: Path, number: int, row: dict[str, Any]) -> dict[str, str]:
    line = {key: row[key] for key in ("text", "label", "slice") if isinstance(row.get(key), str)}
    if "text" not in line or "label" not in line:
        raise PackError(f'{path}:{number}: expected {{"text": …, "label": …}}')
    return line
