"""What is rolled out: a clause-type adapter trained by `turnout train`, and itself damaged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adapters.errors import CorruptAdapter
from adapters.manifest import Manifest
from adapters.registry import Registry, Version
from benchmarks.gateway.prepared import opened
from benchmarks.rollout.users import Question
from benchmarks.swap.prepare import NotPrepared, run_verb, write_config
from benchmarks.variants import damaged, publish_variant

DOMAIN, TASK = "legal", "clause_type"
_LONGEST = 500  # characters of a clause: a prompt token costs 10 ms on vLLM's CPU kernels
_PACK = f'name = "{DOMAIN}"\ntitle = "Contract clauses"\nsystem_prompt = "Answer briefly."\n'


def write_pack(folder: Path, data: Path) -> Path:
    """The clause rows of the legal data as a pack; raises NotPrepared where there are none."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pack.toml").write_text(_PACK, encoding="utf-8")
    for name in ("train", "eval"):
        rows = "".join(json.dumps(row) + "\n" for row in _rows(data, name))
        (folder / f"{name}.jsonl").write_text(rows, encoding="utf-8")
    return folder


def questions(data: Path) -> list[Question]:
    """Held-out clauses with their labels."""
    found = [row["messages"] for row in _rows(data, "eval")]
    short = [messages for messages in found if len(messages[-2]["content"]) <= _LONGEST]
    return [Question(messages[:-1], messages[-1]["content"]) for messages in short]


def trained(folder: Path, pack: Path, minutes: float, say: Callable[[str], None]) -> Path:
    """The folder of a version that the gate passed: one that `folder` has, or a new one; raises
    NotPrepared where so little training makes none."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "turnout.toml"
    write_config(config, ["http://127.0.0.1:8100"], pack=pack)
    with opened(folder) as (_, registry):
        if not _passed(registry):
            say(f"training {DOMAIN} for {minutes:g} minutes")
            run_verb(folder, config, "train", DOMAIN, "--minutes", str(minutes))
        if found := _passed(registry):
            return found[-1].folder
        last = registry.versions(DOMAIN)[-1].manifest
    raise NotPrepared(f"{last.version}: {last.verdict_reason}; give it more --minutes")


def checked(adapter: Path) -> Path:
    """A version's folder from elsewhere; raises NotPrepared if it is none of this domain."""
    try:
        manifest = Manifest.read(adapter)
    except CorruptAdapter as exc:
        raise NotPrepared(f"--adapter takes the folder of a version: {exc}") from exc
    if manifest.domain != DOMAIN:
        raise NotPrepared(f"{adapter} is a version of {manifest.domain}, not of {DOMAIN}")
    return adapter


def publish(
    registry: Registry, version: Path, *, amounts: tuple[float, float], seed: int
) -> tuple[str, str]:
    """Register champion and challenger, each damaged by its amount; returns their names."""
    names = [publish_variant(registry, version, damaged(amount, seed)) for amount in amounts]
    registry.promote(names[0], actor="benchmark")
    registry.challenge(names[1], actor="benchmark")
    return names[0], names[1]


def _passed(registry: Registry) -> list[Version]:
    return [found for found in registry.versions(DOMAIN) if found.manifest.verdict == "pass"]


def _rows(data: Path, name: str) -> list[dict[str, Any]]:
    path = data / DOMAIN / f"{name}.jsonl"
    if not path.is_file():
        raise NotPrepared(f"{path} is missing; set TURNOUT_DATA to the folder with {DOMAIN}/")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["meta"]["task"] == TASK]
