"""Uploads: whole or not at all, whose they are, and names that lead nowhere."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.errors import ArtifactsUnavailable, UnknownFile
from adapters.store import Store
from adapters.uploads import Upload, Uploads, plain_name


@pytest.fixture(params=["folder", "url"])
def uploads(request: pytest.FixtureRequest, store: Store, tmp_path: Path) -> Iterator[Uploads]:
    root = tmp_path / "root"
    place = root if request.param == "folder" else f"file://{root}"
    yield Uploads(store, place, tmp_path / "cache")


def keep(uploads: Uploads, owner: str = "key_1", filename: str = "a.jsonl") -> Upload:
    with uploads.aside() as aside:
        aside.write_bytes(b"{}\n")
        return uploads.keep(aside, owner=owner, filename=filename, examples={"sft": 1})


def test_a_file_is_kept_found_and_deleted(uploads: Uploads, tmp_path: Path) -> None:
    kept = keep(uploads)
    assert uploads.upload(kept.id, "key_1") == uploads.upload(kept.id) == kept
    assert uploads.path(kept).read_bytes() == b"{}\n"
    assert uploads.held("key_1") == 3 and uploads.held("key_2") == 0
    uploads.delete(kept)
    with pytest.raises(UnknownFile):
        uploads.upload(kept.id)
    assert not any(path.is_file() for path in tmp_path.rglob("uploads/*"))


def test_another_host_fetches_what_it_lacks(store: Store, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/root"
    kept = keep(Uploads(store, url, tmp_path / "here"))
    assert Uploads(store, url, tmp_path / "there").path(kept).read_bytes() == b"{}\n"
    lost = Uploads(store, tmp_path / "elsewhere", tmp_path / "here")
    with pytest.raises(ArtifactsUnavailable, match="is gone; upload 'a.jsonl' again"):
        lost.path(kept)


def test_owners_see_their_own(uploads: Uploads) -> None:
    mine, other = [keep(uploads) for _ in range(3)], keep(uploads, "key_2")
    assert uploads.uploads("key_1") == mine[::-1]
    assert uploads.uploads("key_1", after=mine[1].id, newest_first=False) == mine[2:]
    assert uploads.uploads("key_1", after=mine[1].id, limit=5) == mine[:1]
    assert uploads.uploads() == [other, *mine[::-1]]
    with pytest.raises(UnknownFile):
        uploads.upload(other.id, "key_1")


def test_what_was_not_kept_leaves_nothing(store: Store, tmp_path: Path) -> None:
    uploads = Uploads(store, tmp_path / "root", tmp_path / "cache")
    with uploads.aside() as abandoned:
        abandoned.write_bytes(b"x")
    old = tmp_path / "root" / "uploads" / ".incoming-killed"
    old.write_bytes(b"x")
    os.utime(old, (1, 1))
    with uploads.aside() as aside:
        assert list(old.parent.iterdir()) == [aside]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("train.jsonl", "train.jsonl"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\x.jsonl", "x.jsonl"),
        ("a\x00b\r\nc\x1b[31m.jsonl", "abc[31m.jsonl"),
        ("", "examples.jsonl"),
        ("///", "examples.jsonl"),
        ("\ud800.jsonl", "?.jsonl"),
        ("ü" * 500, "ü" * 200),
    ],
)
def test_names_are_for_people_only(name: str, plain: str) -> None:
    assert plain_name(name) == plain
