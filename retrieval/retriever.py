"""Searches the serving indexes; the object a gateway holds for as long as it runs."""

import logging
from pathlib import Path
from threading import Lock

from retrieval.encoder import StaticEncoder
from retrieval.errors import IndexingError
from retrieval.index import PassageIndex
from retrieval.passages import Passage
from retrieval.versions import POINTER, Pointer, checked_version, domain_folder, domains

log = logging.getLogger(__name__)

Stamp = tuple[int, int, int]


class Retriever:
    """Any number of threads may search while another refreshes: what they read is replaced whole.

    Indexes are opened by refresh(), which the constructor calls, never while a question waits;
    only versions asked for by name are opened on demand.
    """

    def __init__(self, root: Path, encoder: StaticEncoder) -> None:
        self._root = root
        self._encoder = encoder
        self._serving: dict[str, tuple[str, PassageIndex]] = {}
        self._stamps: dict[str, Stamp] = {}
        self._pinned: dict[tuple[str, str], PassageIndex] = {}
        self._lock = Lock()
        self.refresh()

    def search(
        self,
        domain: str,
        query: str,
        *,
        top_k: int = 4,
        min_score: float = 0.0,
        version: str | None = None,
    ) -> list[Passage]:
        """The best passages of a domain, best first; none for a domain without an index.

        `version` searches that version in place of the serving one, and raises IndexingError if
        there is no such version.
        """
        index = self._index(domain, version)
        if index is None or top_k < 1 or not query.strip():
            return []
        vector = self._encoder.encode([query])[0]
        return index.search(query, vector, top_k, min_score)

    def versions(self) -> dict[str, str]:
        """The serving version of each domain."""
        return {domain: version for domain, (version, _) in self._serving.items()}

    def refresh(self) -> None:
        """Open what changed since the last call; costs one stat per domain if nothing did.

        A domain whose new index cannot be opened keeps the one it has, and the log says why.
        """
        with self._lock:
            serving = {}
            for domain in domains(self._root):
                current = self._serving.get(domain)
                try:
                    current = self._refreshed(domain, current)
                except IndexingError as exc:
                    log.error("the index of %s was not opened: %s", domain, exc)
                if current is not None:
                    serving[domain] = current
            self._serving = serving

    def _refreshed(
        self, domain: str, current: tuple[str, PassageIndex] | None
    ) -> tuple[str, PassageIndex] | None:
        folder = self._root / domain
        stamp = _stamp(folder / POINTER)
        if stamp == self._stamps.get(domain):
            return current
        pointer = Pointer.read(folder)
        if stamp is not None:
            self._stamps[domain] = stamp
        if pointer is None or (current is not None and current[0] == pointer.version):
            return current
        return pointer.version, PassageIndex.open(folder / pointer.version, self._encoder)

    def _index(self, domain: str, version: str | None) -> PassageIndex | None:
        serving = self._serving.get(domain)
        if version is None or (serving is not None and serving[0] == version):
            return serving[1] if serving else None
        key = (domain, checked_version(version))
        with self._lock:
            if key not in self._pinned:
                folder = domain_folder(self._root, domain) / version
                self._pinned[key] = PassageIndex.open(folder, self._encoder)
            return self._pinned[key]


def _stamp(file: Path) -> Stamp | None:
    """Changes whenever the pointer is replaced, as each one is a new file."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
