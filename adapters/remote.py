"""One fsspec URL as a place for files: read, write, ask. Knows nothing of adapters or caches.

Backends share no error tree (botocore, aiohttp, paramiko …), so whatever they raise is translated
here, once. fsspec is imported where it is used: most artifact roots are folders.
"""

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from adapters.errors import AdapterError, ArtifactsUnavailable, CorruptAdapter

_CHUNK = 2**20


def is_url(root: str | Path) -> bool:
    """Whether an artifact root is a URL rather than a folder."""
    return isinstance(root, str) and "://" in root


def url_problem(url: str) -> str:
    """Why fsspec cannot open `url` here, or the empty string. Imports no filesystem package."""
    import fsspec
    from fsspec.registry import known_implementations

    scheme = url.partition("://")[0]
    if scheme not in fsspec.available_protocols():
        return f"{shown(url)}: fsspec knows no filesystem {scheme!r}; s3, gs, abfs, file … it does"
    known = known_implementations.get(scheme)
    package = known["class"].partition(".")[0] if known else "fsspec"
    if importlib.util.find_spec(package) is None:
        return f"{shown(url)}: needs the package {package}; install it beside turnout"
    return ""


def shown(url: str) -> str:
    """The URL for messages, without a password it may carry."""
    return re.sub(r"(//[^/@:]*):[^/@]*@", r"\1:…@", url)


class Remote:
    """Files below a URL, by their path relative to it. Every call blocks.

    Credentials and endpoints are the backend's own business: its environment variables, or those
    of fsspec (`FSSPEC_S3_…`).
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def __str__(self) -> str:
        return shown(self._url)

    @cached_property
    def _place(self) -> tuple[Any, str]:
        if problem := url_problem(self._url):
            raise ArtifactsUnavailable(problem)
        import fsspec

        local = self._url.startswith(("file://", "local://"))
        filesystem, path = fsspec.core.url_to_fs(
            self._url, **({"auto_mkdir": True} if local else {})
        )
        return filesystem, path.rstrip("/")

    def chunks(self, name: str) -> Iterator[bytes]:
        """The file's bytes, piece by piece; CorruptAdapter when the root is there but the file is
        not."""
        with self._translated(name):
            filesystem, root = self._place
            filesystem.invalidate_cache()
            with filesystem.open(f"{root}/{name}", "rb") as file:
                while chunk := file.read(_CHUNK):
                    yield bytes(chunk)

    def holds(self, name: str) -> bool:
        """Whether something of this name exists."""
        with self._translated(name):
            filesystem, root = self._place
            filesystem.invalidate_cache()
            return bool(filesystem.exists(f"{root}/{name}"))

    def put(self, file: Path, name: str) -> None:
        """Write a local file there."""
        with self._translated(name):
            filesystem, root = self._place
            filesystem.put_file(str(file), f"{root}/{name}")

    def remove(self, name: str) -> None:
        """Delete a file; nothing happens where there is none."""
        with self._translated(name):
            filesystem, root = self._place
            filesystem.invalidate_cache()
            if filesystem.exists(f"{root}/{name}"):
                filesystem.rm_file(f"{root}/{name}")

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except AdapterError:
            raise
        except FileNotFoundError as exc:
            top = name.partition("/")[0]
            if top != name and self.holds(top):
                raise CorruptAdapter(f"{self}/{name} is missing") from exc
            raise ArtifactsUnavailable(
                f"{self}: nothing is there; does artifacts.root name the right place?"
            ) from exc
        except Exception as exc:  # every fsspec backend raises its own
            raise ArtifactsUnavailable(
                f"{self}/{name}: {exc or type(exc).__name__}; check artifacts.root, the network and"
                " the credentials of this host"
            ) from exc
