"""Real state to measure on: a router, an index, and adapter versions trained by `turnout train`.

Training takes minutes, so the prepared folder is kept; every run works on a fresh copy of it.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from adapters.registry import Registry
from adapters.store import Store
from benchmarks.swap.servers import ROOT, SERVED_NAME
from benchmarks.variants import publish_variant, scaled
from gateway.settings import Settings

DOMAIN = "espresso"
# What deploy/vllm/cpu.sh starts a replica with.
LIMITS: Mapping[str, int] = {"max_loras": 4, "max_cpu_loras": 16}


class NotPrepared(Exception):
    """A step of the preparation failed; the message holds its last words."""


def write_config(
    path: Path,
    urls: Sequence[str],
    *,
    kind: str = "vllm",
    pack: Path = ROOT / "examples" / DOMAIN,
    limits: Mapping[str, int] = LIMITS,
) -> None:
    """The gateway's configuration for these replicas; the file is replaced whole."""
    quoted = ", ".join(f'"{url}"' for url in urls)
    text = f"""
[router]
examples = ["{ROOT}/examples/general.jsonl"]

[experiments]
look_seconds = 2

[training.trial]
rows = 30
prompt_rows = 0
protected_rows = 1

[[engines]]
name = "specialists"
kind = "{kind}"
urls = [{quoted}]
model = "{SERVED_NAME}"
max_loras = {limits["max_loras"]}
max_cpu_loras = {limits["max_cpu_loras"]}
max_lora_rank = 16

[[targets]]
name = "general"
engine = "specialists"

[[packs]]
path = "{pack}"
engine = "specialists"
"""
    aside = path.with_suffix(".new")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)


def prepare(folder: Path, *, minutes: float, say: Callable[[str], None]) -> tuple[str, str]:
    """Fill `folder` with what is missing; returns two trained versions' names, oldest first."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "turnout.toml"
    write_config(config, ["http://127.0.0.1:8100"])
    if not (folder / "artifacts" / "router").exists():
        say("indexing and fitting the router")
        run_verb(
            folder,
            config,
            "docs",
            "ingest",
            f"{ROOT}/examples/{DOMAIN}/documents",
            "--domain",
            DOMAIN,
        )
        run_verb(folder, config, "router", "fit")
    while len(versions := _versions(folder)) < 2:
        number = len(versions) + 1
        say(f"training version {number} of 2 of {DOMAIN} for {minutes:g} minutes")
        seed = str(number)
        run_verb(folder, config, "train", DOMAIN, "--minutes", str(minutes), "--seed", seed)
    return versions[0], versions[1]


def fresh_copy(prepared: Path, state: Path) -> None:
    """A state folder as if the two versions had just been trained there: no moves, no traffic."""
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    shutil.copytree(prepared / "artifacts", state / "artifacts")
    for path in prepared.glob("turnout.db*"):
        shutil.copyfile(path, state / path.name)


def publish_variants(state: Path, version: str, count: int) -> list[str]:
    """Register `count` variants of the trained version, a little different; returns their names."""
    with _registry(state) as registry:
        folder = registry.version(version).folder
        scales = [1 + 1e-4 * (number + 1) for number in range(count)]
        return [publish_variant(registry, folder, scaled(scale)) for scale in scales]


def _versions(state: Path) -> list[str]:
    with _registry(state) as registry:
        return [version.name for version in registry.versions(DOMAIN)]


@contextmanager
def _registry(state: Path) -> Iterator[Registry]:
    settings = Settings(state=state)
    store = Store(settings.store_url)
    try:
        yield Registry(store, settings.versions)
    finally:
        store.close()


def run_verb(state: Path, config: Path, *arguments: str) -> None:
    """Run a `turnout` verb on this state; raises NotPrepared with its last words if it fails."""
    places = ["--config", str(config), "--state", str(state)]
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments, *places],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise NotPrepared(f"`turnout {arguments[0]} {arguments[1]}` failed: {last}")
