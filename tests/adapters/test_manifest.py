"""A version's folder that is not what its manifest says is refused, with the reason."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.errors import CorruptAdapter
from adapters.manifest import MAX_MANIFEST_BYTES, Manifest, config_hash, verify
from adapters.registry import Registry
from tests.adapters.folders import facts, write_adapter


@pytest.fixture
def folder(tmp_path: Path, registry: Registry) -> Path:
    """A published version."""
    manifest = registry.publish("legal", write_adapter(tmp_path / "a"), facts())
    return registry.version(manifest.version).folder


@pytest.mark.parametrize(
    "harm", ["change", "extra", "hidden", "remove", "link", "pipe", "folder", "manifest", "rename"]
)
def test_a_published_version_that_was_touched_is_refused(
    tmp_path: Path, folder: Path, harm: str
) -> None:
    weights = folder / "adapter_model.safetensors"
    match harm:
        case "change":
            weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
        case "extra":
            (folder / "more.json").write_text("{}")
        case "hidden":
            (folder / ".more").write_text("{}")
        case "remove":
            weights.unlink()
        case "link":
            real = tmp_path / "real"
            os.replace(weights, real)
            weights.symlink_to(real)
        case "pipe":
            weights.unlink()
            os.mkfifo(weights)
        case "folder":
            (folder / "more").mkdir()
        case "manifest":
            (folder / "manifest.json").write_text("{")
        case "rename":
            folder = folder.rename(folder.parent / "legal--v9-00000000")
    with pytest.raises(CorruptAdapter):
        verify(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "legal--v1-00000000"}, "belongs to legal--v1-00000000"),
        ({"version": "../../etc"}, "version"),
        ({"domain": "other"}, "is not version 1 of the domain 'other'"),
        ({"domain": "../.."}, "is not version 1"),
        ({"number": 2}, "is not version 2"),
        ({"rank": 16}, "the manifest says rank 16, adapter_config.json says 8"),
        ({"rank": "eight"}, "rank"),
        ({"unknown": 1}, "unknown"),
        ({"files": {}}, "files lacks adapter_config.json"),
        ({"files": {"adapter_config.json": "0" * 64}}, "lacks adapter_model.safetensors"),
        ({"more": {"/etc/passwd": "0" * 64}}, "not a plain file name"),
        ({"more": {"../x": "0" * 64}}, "not a plain file name"),
        ({"more": {"a\\b": "0" * 64}}, "not a plain file name"),
        ({"more": {"a\0b": "0" * 64}}, "not a plain file name"),
        ({"more": {".hidden": "0" * 64}}, "not a plain file name"),
        ({"more": {"..": "0" * 64}}, "not a plain file name"),
        ({"more": {"": "0" * 64}}, "not a plain file name"),
        ({"more": {"n" * 256: "0" * 64}}, "not a plain file name"),
        ({"more": {"x.bin": "0" * 64}}, "may run code"),
        ({"more": {"manifest.json": "0" * 64}}, "lists manifest.json itself"),
        ({"more": {"x": "0" * 63}}, "files.x"),
        ({"more": {"x": "G" * 64}}, "files.x"),
        ({"more": {f"x{n}": "0" * 64 for n in range(64)}}, "files"),
        ({"more": {"x": "0" * 64}}, "files differ from the manifest: x"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(
    folder: Path, change: dict[str, object], said: str
) -> None:
    path = folder / "manifest.json"
    values = json.loads(path.read_bytes())
    values["files"] |= change.get("more", {})
    plain = {name: value for name, value in change.items() if name != "more"}
    path.write_text(json.dumps({**values, **plain}))
    with pytest.raises(CorruptAdapter, match=said):
        verify(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe",
        b'{"version": 1e999}',
        b"1" * 100_000,
    ],
)
def test_what_is_no_manifest_is_refused(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(CorruptAdapter, match=r"manifest\.json"):
        Manifest.read(folder)


@settings(deadline=None)
@given(content=st.binary(max_size=100))
def test_no_bytes_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("junk")
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(CorruptAdapter):
        Manifest.read(folder)


def test_a_huge_manifest_is_not_read(folder: Path) -> None:
    with (folder / "manifest.json").open("wb") as file:
        file.truncate(MAX_MANIFEST_BYTES + 1)
    with pytest.raises(CorruptAdapter, match="at most 4194304"):
        Manifest.read(folder)


def test_a_version_of_another_rank_than_was_trained_is_not_published(
    tmp_path: Path, registry: Registry
) -> None:
    with pytest.raises(CorruptAdapter, match="rank 16, training says 8"):
        registry.publish("legal", write_adapter(tmp_path / "a", rank=16), facts())


def test_the_base_hash_names_the_weights_and_not_the_software(tmp_path: Path) -> None:
    def hashed(**config: object) -> str:
        (tmp_path / "config.json").write_text(json.dumps(config))
        return config_hash(tmp_path)

    assert hashed(hidden_size=576, transformers_version="4") == hashed(hidden_size=576)
    assert hashed(hidden_size=576) != hashed(hidden_size=960)
