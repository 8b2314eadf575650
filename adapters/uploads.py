"""Files that users uploaded to train on, kept under the artifact root by names of our own.

Knows who owns them; what is in them was checked before.
"""

import re
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from msgspec import Struct
from sqlalchemy import delete, func, insert, select, tuple_

from adapters import tables
from adapters.errors import ArtifactsUnavailable, UnknownFile
from adapters.files import is_plain
from adapters.remote import Remote, is_url
from adapters.store import Store

FINE_TUNE = "fine-tune"
_INCOMING = ".incoming-"
# What a killed process left aside is old when nothing was written to it for this long.
_ABANDONED_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on record. `examples` counts what can be learned from, by kind; `filename` is what its
    owner calls it, and names nothing here."""

    id: str
    owner: str
    created: float
    filename: str
    purpose: str
    bytes: int
    examples: Mapping[str, int]


class Unread(Struct, frozen=True):
    """What the process that reads an upload is told: where it lies, and what its owner calls it."""

    path: str
    filename: str


class Examined(Struct, frozen=True):
    """What that process answers: examples by kind, or the first thing that is wrong."""

    examples: dict[str, int] = {}
    problem: str | None = None


class Uploads:
    """Uploads under one root. Everything blocks and belongs in a thread.

    Args:
        root: a folder, or an fsspec URL.
        cache: folder on this host for files of a remote root; unused for a folder.
    """

    def __init__(self, store: Store, root: str | Path, cache: Path) -> None:
        self._store = store
        self._remote = Remote(str(root)) if is_url(root) else None
        self._folder = (cache if self._remote else Path(root)).resolve() / "uploads"

    @contextmanager
    def aside(self) -> Iterator[Path]:
        """An empty file to write to; gone afterwards unless it was kept."""
        with _writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            with tempfile.NamedTemporaryFile(
                prefix=_INCOMING, dir=self._folder, delete=False
            ) as made:
                path = Path(made.name)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def keep(
        self, aside: Path, *, owner: str, filename: str, examples: Mapping[str, int]
    ) -> Upload:
        """Put a file written aside on record; it appears whole or not at all."""
        upload = Upload(
            id=f"file-{secrets.token_hex(12)}",
            owner=owner,
            created=time.time(),
            filename=plain_name(filename),
            purpose=FINE_TUNE,
            bytes=aside.stat().st_size,
            examples=dict(examples),
        )
        if self._remote:
            self._remote.put(aside, _place(upload.id))
        with _writing(self._folder):
            aside.rename(self._path(upload.id))
        with self._store.transaction() as connection:
            connection.execute(insert(tables.files).values(asdict(upload)))
        return upload

    def upload(self, name: str, owner: str | None = None) -> Upload:
        """One by id, if it is `owner`'s (None: anybody's); raises UnknownFile."""
        query = select(tables.files).where(tables.files.c.id == name)
        row = None
        if is_plain(name):  # PostgreSQL takes no NUL
            with self._store.transaction() as connection:
                row = connection.execute(query).first()
        if row is None or owner not in (None, row.owner):
            raise UnknownFile(f"no file {name!r:.80}; `GET /v1/files` lists yours")
        return Upload(**row._mapping)

    def uploads(
        self,
        owner: str | None = None,
        *,
        after: str | None = None,
        limit: int = 10_000,
        newest_first: bool = True,
    ) -> Sequence[Upload]:
        """A page of what is `owner`'s (None: anybody's), from behind the one named `after`."""
        files = tables.files.c
        moment = tuple_(files.created, files.id)
        query = select(tables.files).limit(limit)
        if owner is not None:
            query = query.where(files.owner == owner)
        if after is not None:
            last = self.upload(after, owner)
            edge = tuple_(last.created, last.id)
            query = query.where(moment < edge if newest_first else moment > edge)
        order = (files.created, files.id)
        query = query.order_by(*(c.desc() if newest_first else c.asc() for c in order))
        with self._store.transaction() as connection:
            return [Upload(**row._mapping) for row in connection.execute(query)]

    def held(self, owner: str) -> int:
        """Bytes of everything that is `owner`'s."""
        query = select(func.sum(tables.files.c.bytes)).where(tables.files.c.owner == owner)
        with self._store.transaction() as connection:
            return int(connection.execute(query).scalar() or 0)

    def path(self, upload: Upload) -> Path:
        """Where the bytes lie on this host; fetched, if the root is remote."""
        path = self._path(upload.id)
        if path.is_file():
            return path
        if self._remote is None:
            raise ArtifactsUnavailable(f"{path} is gone; upload {upload.filename!r} again")
        with self.aside() as aside, _writing(path):
            with aside.open("wb") as file:
                for chunk in self._remote.chunks(_place(upload.id)):
                    file.write(chunk)
            aside.rename(path)
        return path

    def delete(self, upload: Upload) -> None:
        """Take a file off the record, then its bytes away."""
        with self._store.transaction() as connection:
            connection.execute(delete(tables.files).where(tables.files.c.id == upload.id))
        if self._remote:
            self._remote.remove(_place(upload.id))
        with _writing(self._folder):
            self._path(upload.id).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.jsonl"

    def _sweep(self) -> None:
        for path in self._folder.glob(f"{_INCOMING}*"):
            try:
                if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                    path.unlink(missing_ok=True)
            except FileNotFoundError:
                continue  # another process has just removed it


def plain_name(name: str) -> str:
    """A file's name for people to read: without folders and control characters, not too long."""
    last = re.split(r"[/\\]", name)[-1].encode("utf-8", "replace").decode()
    return "".join(c for c in last if c.isprintable())[:200].strip() or "examples.jsonl"


def _place(name: str) -> str:
    return f"uploads/{name}.jsonl"


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ArtifactsUnavailable(
            f"{path}: {exc.strerror or exc}; check the disk and its permissions"
        ) from exc
