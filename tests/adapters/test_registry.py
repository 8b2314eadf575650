"""Versions are immutable, aliases move by rule, and every move is on record."""

from pathlib import Path

import pytest

from adapters.errors import CorruptAdapter, RefusedMove, UnknownVersion
from adapters.manifest import verify
from adapters.registry import Aliases, Registry
from tests.adapters.folders import facts, write_adapter


def published(registry: Registry, tmp_path: Path, seed: int, verdict: str = "pass") -> str:
    folder = write_adapter(tmp_path / f"staged-{seed}", seed=seed)
    return registry.publish("legal", folder, facts(verdict)).version


def test_versions_are_numbered_and_verify(registry: Registry, tmp_path: Path) -> None:
    names = [published(registry, tmp_path, seed) for seed in range(3)]
    assert [name.rpartition("-")[0] for name in names] == ["legal--v1", "legal--v2", "legal--v3"]
    for name in names:
        assert verify(registry.version(name).folder) == registry.verify(name)


def test_nothing_is_left_of_a_publication_that_was_refused(
    registry: Registry, tmp_path: Path
) -> None:
    with pytest.raises(CorruptAdapter):
        registry.publish("legal", write_adapter(tmp_path / "a", use_dora=True), facts())
    assert registry.versions() == []
    assert list((tmp_path / "artifacts").rglob("*.safetensors")) == []


def test_promote_and_roll_back_walk_the_lineage(registry: Registry, tmp_path: Path) -> None:
    first, second, third = (published(registry, tmp_path, seed) for seed in range(3))
    for name in (first, second, third):
        registry.promote(name, actor="test")
    assert registry.aliases()["legal"] == Aliases(third, None, (first, second))
    assert registry.rollback("legal", actor="test") == second
    assert registry.rollback("legal", actor="test") == first
    assert registry.rollback("legal", actor="test") is None
    with pytest.raises(RefusedMove, match="no champion"):
        registry.rollback("legal", actor="test")
    kinds = [move["kind"] for move in registry.history("legal")]
    assert kinds == ["promote"] * 3 + ["rollback"] * 3


def test_only_pass_is_promoted_unless_a_person_forces_it(
    registry: Registry, tmp_path: Path
) -> None:
    name = published(registry, tmp_path, 1, verdict="inconclusive")
    with pytest.raises(RefusedMove, match="'inconclusive'"):
        registry.promote(name, actor="test")
    registry.promote(name, actor="test", reason="demo day", force=True)
    assert registry.history("legal")[-1]["reason"] == "forced: demo day"


def test_a_challenger_that_is_promoted_is_no_challenger_any_more(
    registry: Registry, tmp_path: Path
) -> None:
    first, second = (published(registry, tmp_path, seed) for seed in range(2))
    registry.promote(first, actor="test")
    registry.challenge(second, actor="test")
    assert registry.aliases()["legal"] == Aliases(first, second, ())
    registry.promote(second, actor="test")
    assert registry.aliases()["legal"] == Aliases(second, None, (first,))


def test_a_champion_cannot_be_retired_and_the_retired_cannot_serve(
    registry: Registry, tmp_path: Path
) -> None:
    first, second = (published(registry, tmp_path, seed) for seed in range(2))
    registry.promote(first, actor="test")
    registry.promote(second, actor="test")
    with pytest.raises(RefusedMove, match="is the champion"):
        registry.retire(second, actor="test")
    registry.retire(first, actor="test")
    assert registry.aliases()["legal"].previous is None
    with pytest.raises(RefusedMove, match="is retired"):
        registry.promote(first, actor="test")
    assert registry.version(first).folder.is_dir()


def test_unknown_versions_are_named(registry: Registry) -> None:
    with pytest.raises(UnknownVersion, match="legal--v1-00000000"):
        registry.promote("legal--v1-00000000", actor="test")
