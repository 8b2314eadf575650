"""Whether a domain's questions are still those of before its champion."""

import time
from pathlib import Path

import pytest

from adapters.artifacts import Artifacts
from adapters.registry import Registry
from adapters.store import Store
from router.examples import Example
from router.fitting.artefact import write
from router.fitting.embeddings import PieceEmbeddings
from router.fitting.fit import fit
from tests.adapters.folders import facts, write_adapter
from tests.adapters.test_store import interaction, records
from training.service.drift import DomainDrift

ASKED = ["the boiler of my machine leaks", "which burrs fit the grinder", "the pump is loud"]
ELSE = ["may a tenant end the lease early, and who pays for the notary's stamp then, please tell"]
EXAMPLES = [
    *(Example(f"{text} {n}", "legal") for text in ASKED for n in range(4)),
    *(Example(f"{text} {n}", "general") for text in ["a poem", "a joke"] for n in range(6)),
]


@pytest.fixture
def routers(tmp_path: Path, encoder_folder: Path) -> Path:
    root = tmp_path / "routers"
    write(fit(EXAMPLES, PieceEmbeddings.load(encoder_folder)), root / "small")
    (root / "current.json").write_text('{"version": "small"}')
    return root


def ask(store: Store, texts: list[str], begin: float, name: str) -> None:
    for number in range(100):
        messages = [{"role": "user", "content": texts[number % len(texts)]}]
        one = interaction(f"{name}{number}", created=begin + number, request={"messages": messages})
        store.take(records(one))


def test_new_questions_are_seen_and_old_ones_are_not(tmp_path: Path, routers: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/turnout.db")
    registry = Registry(store, Artifacts(str(tmp_path / "artifacts"), tmp_path / "cache"))
    hours = iter(range(0, 100, 10))
    drift = DomainDrift(store, registry, routers, clock=lambda: next(hours) * 3600.0)
    assert drift("legal") is None  # nothing serves that anything could have moved away from
    staged = write_adapter(tmp_path / "staged", seed=1)
    registry.promote(registry.publish("legal", staged, facts("pass")).version, actor="test")
    ask(store, ASKED, time.time() - 1000, "before")
    assert drift("legal") is None
    ask(store, ASKED, time.time() + 10, "same")
    assert drift("legal") == 0.0
    ask(store, ELSE, time.time() + 500, "new")
    moved = drift("legal")
    assert moved is not None and moved > 0.25
    assert DomainDrift(store, registry, tmp_path / "none")("legal") is None
    store.close()
