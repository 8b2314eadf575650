"""Where index versions lie, and the pointer that says which one serves.

{root}/{domain}/{version}/…     immutable
{root}/{domain}/current.json    {"version": …, "history": [older …, newest]}
"""

import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import IndexingError

POINTER = "current.json"
DOMAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
VERSION = re.compile(r"v([0-9]{1,9})-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Pointer:
    """The serving version, and those that served before it, oldest first."""

    version: str
    history: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> "Pointer | None":
        """The pointer of a domain's folder, None where nothing was ingested yet."""
        file = folder / POINTER
        try:
            content = json.loads(file.read_bytes())
            pointer = cls(content["version"], tuple(content["history"]))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError) as exc:
            raise IndexingError(f"{file} is broken ({exc!r}); ingest the documents again") from exc
        for version in (pointer.version, *pointer.history):
            checked_version(version)
        return pointer

    def write(self, folder: Path) -> None:
        """Replace the pointer file at once; readers see the old one or the new one."""
        content = json.dumps({"version": self.version, "history": list(self.history)})
        handle, name = tempfile.mkstemp(prefix=f".{POINTER}-", dir=folder)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, folder / POINTER)

    def moved_to(self, version: str) -> "Pointer":
        return Pointer(version, (*(v for v in self.history if v != version), self.version))


def domain_folder(root: Path, domain: str) -> Path:
    """The folder of a domain; its name is checked as it may come from a request."""
    if not DOMAIN.fullmatch(domain):
        raise IndexingError(
            f"{domain[:80]!r} cannot be a domain: use lower-case letters, digits, - and _"
        )
    return root / domain


def checked_version(version: object) -> str:
    """`version` if it has the shape of one, so that it cannot name another folder."""
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        raise IndexingError(f"{str(version)[:80]!r} is not an index version (like v3-0a1b2c3d)")
    return version


def domains(root: Path) -> list[str]:
    """Domains with a pointer, sorted."""
    return sorted(
        file.parent.name for file in root.glob(f"*/{POINTER}") if DOMAIN.fullmatch(file.parent.name)
    )


def next_version(folder: Path, digest: str) -> str:
    """A name no version in `folder` has: the next number and the start of the content's digest."""
    names = [match for entry in folder.glob("v*") if (match := VERSION.fullmatch(entry.name))]
    number = 1 + max((int(match[1]) for match in names), default=0)
    return f"v{number}-{digest[:8]}"


def rollback(root: Path, domain: str) -> Pointer:
    """Serve the version before the current one again; returns the new pointer."""
    folder = domain_folder(root, domain)
    pointer = Pointer.read(folder)
    if pointer is None:
        raise IndexingError(f"{domain!r} has no index; known are: {', '.join(domains(root))}")
    if not pointer.history:
        raise IndexingError(f"{domain!r} has only {pointer.version}; there is nothing before it")
    previous = Pointer(pointer.history[-1], pointer.history[:-1])
    if not (folder / previous.version / "manifest.json").is_file():
        raise IndexingError(f"{folder / previous.version} is gone; ingest the documents again")
    previous.write(folder)
    return previous
