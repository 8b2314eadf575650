"""Where adapter versions lie: under one root, a folder or a URL, and for a URL in a cache on this
host.

A version appears whole or not at all, its manifest last. What comes from afar is not trusted: only
the registered names are fetched, and bytes that differ from the registered digests never get into
the cache.
"""

import fcntl
import hashlib
import logging
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapters.errors import ArtifactsUnavailable, CorruptAdapter
from adapters.files import MAX_BYTES
from adapters.manifest import DOMAIN_PATTERN, MANIFEST, MAX_MANIFEST_BYTES, Manifest, verify
from adapters.remote import Remote, is_url

logger = logging.getLogger(__name__)

_PUBLISHING, _FETCHING = ".publishing-", ".fetching-"
# What a killed process left aside is old when nothing was written to it for this long.
_ABANDONED_SECONDS = 3600


class Artifacts:
    """Adapter versions under one root. Everything but `folder` blocks and belongs in a thread.

    Args:
        root: a folder, or an fsspec URL such as `s3://bucket/turnout`.
        cache: folder on this host for versions of a remote root; unused for a folder.
    """

    def __init__(self, root: str | Path, cache: Path) -> None:
        self._remote = Remote(str(root)) if is_url(root) else None
        self._local = (cache if self._remote else Path(root)).resolve()

    def folder(self, manifest: Manifest) -> Path:
        """Where the version's files lie on this host, absolute; `obtain` puts them there."""
        return self._local / "adapters" / manifest.domain / manifest.version

    @contextmanager
    def aside(self, domain: str) -> Iterator[Path]:
        """A fresh folder to prepare a version in, gone afterwards; CorruptAdapter when the name
        cannot be a domain's."""
        if not re.fullmatch(DOMAIN_PATTERN, domain):
            raise CorruptAdapter(f"{domain!r} cannot name a domain; expected {DOMAIN_PATTERN}")
        with self._temporary(self._local / "adapters" / domain, _PUBLISHING) as folder:
            yield folder

    def place(self, aside: Path, manifest: Manifest) -> None:
        """Publish a folder prepared by `aside`; it appears whole or not at all.

        Raises:
            CorruptAdapter: the version is there already; versions are never written again.
            ArtifactsUnavailable: the root cannot be written.
        """
        if self._remote:
            _upload(aside, manifest, self._remote)
            return
        folder = self.folder(manifest)
        try:
            if folder.exists():
                raise CorruptAdapter(f"{folder} exists already; a version is never written again")
            aside.chmod(0o755)
            aside.rename(folder)
        except OSError as exc:
            raise _unusable(folder, exc) from exc

    def obtain(self, manifest: Manifest) -> Manifest:
        """Have the registered version's files on this host, whole and checked.

        Raises:
            CorruptAdapter: the files at the root are not what was registered, or must not be
            served.
            ArtifactsUnavailable: the root or the cache did not answer; try again later.
        """
        folder = self.folder(manifest)
        if self._remote is None:
            if not (self._local / "adapters").is_dir():
                raise ArtifactsUnavailable(
                    f"{self._local}: nothing is there; does artifacts.root name the right place?"
                )
            return _checked(folder, manifest)
        if _cached(folder, manifest):
            return manifest
        with self._one_at_a_time(manifest):
            if not _cached(folder, manifest):
                self._fetch(self._remote, manifest)
        return manifest

    def _fetch(self, remote: Remote, manifest: Manifest) -> None:
        """Download into a folder aside, check, and put it in place of whatever is there."""
        folder = self.folder(manifest)
        with self._temporary(folder.parent, _FETCHING) as aside:
            fetched = aside / manifest.version
            try:
                fetched.mkdir()
                _download(remote, manifest, fetched)
                _checked(fetched, manifest)
                if folder.exists():
                    folder.rename(aside / "damaged")
                fetched.rename(folder)
            except OSError as exc:
                raise _unusable(folder, exc) from exc

    @contextmanager
    def _temporary(self, home: Path, prefix: str) -> Iterator[Path]:
        try:
            home.mkdir(parents=True, exist_ok=True)
            _sweep(home)
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=home))
        except OSError as exc:
            raise _unusable(home, exc) from exc
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _one_at_a_time(self, manifest: Manifest) -> Iterator[None]:
        """Threads and processes of this host take turns, so that each version is fetched once. The
        kernel frees the lock of a process that dies."""
        path = self._local / "locks" / manifest.version
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("wb")
        except OSError as exc:
            raise _unusable(path, exc) from exc
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _checked(folder: Path, manifest: Manifest) -> Manifest:
    if verify(folder) != manifest:
        raise CorruptAdapter(f"{folder / MANIFEST} differs from what was registered")
    return manifest


def _cached(folder: Path, manifest: Manifest) -> bool:
    """Whether the cache holds the version undamaged."""
    if not folder.exists():
        return False
    try:
        _checked(folder, manifest)
    except CorruptAdapter as exc:
        logger.warning("%s; it is fetched again", exc)
        return False
    return True


def _upload(aside: Path, manifest: Manifest, remote: Remote) -> None:
    home = f"adapters/{manifest.domain}/{manifest.version}"
    if remote.holds(f"{home}/{MANIFEST}"):
        raise CorruptAdapter(f"{remote}/{home} exists already; a version is never written again")
    for name in (*manifest.files, MANIFEST):  # object stores have no rename: the manifest is last
        remote.put(aside / name, f"{home}/{name}")


def _download(remote: Remote, manifest: Manifest, folder: Path) -> None:
    """Fetch the registered files and no others, bounded, with their digests checked on the way."""
    home = f"adapters/{manifest.domain}/{manifest.version}"
    room = MAX_BYTES
    for name, digest in manifest.files.items():
        got, size = _copy(remote, f"{home}/{name}", folder / name, room)
        if got != digest:
            raise CorruptAdapter(f"{remote}/{home}/{name}: digest differs from what was registered")
        room -= size
    _copy(remote, f"{home}/{MANIFEST}", folder / MANIFEST, MAX_MANIFEST_BYTES)


def _copy(remote: Remote, name: str, path: Path, limit: int) -> tuple[str, int]:
    """Fetch one file; returns its SHA-256 and size."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for chunk in remote.chunks(name):
            size += len(chunk)
            if size > limit:
                raise CorruptAdapter(f"{remote}/{name} is larger than the {limit} bytes allowed")
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest(), size


def _sweep(home: Path) -> None:
    """Delete what killed processes left aside."""
    for prefix in (_PUBLISHING, _FETCHING):
        for folder in home.glob(f"{prefix}*"):
            try:
                touched = max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
            except OSError:
                continue  # another process has just removed it
            if time.time() - touched > _ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _unusable(path: Path, exc: OSError) -> ArtifactsUnavailable:
    return ArtifactsUnavailable(
        f"{path}: {exc.strerror or exc}; check the disk and its permissions"
    )
