"""Searches the serving indexes; the object a gateway holds for as long as it runs."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from retrieval.errors import RetrievalError
from retrieval.passages import Passage
from retrieval.versions import POINTER, Pointer, checked_version, domain_folder, domains

if TYPE_CHECKING:
    from retrieval.encoder import StaticEncoder
    from retrieval.index import PassageIndex

log = logging.getLogger(__name__)

Stamp = tuple[int, int, int]


class Retriever:
    """Any number of threads may search while another refreshes: what they read is replaced whole.

    Indexes are opened by refresh(), which the constructor calls, never while a question waits;
    only versions asked for by name are opened on demand. What searching takes is imported and read
    with the first index: 27 MB and 0.1 s that a gateway without documents does not need.

    Args:
        encoder: folder of the embedding model. A broken one is an EncoderError if there are indexes
            by now, and only logged later.
    """

    def __init__(self, root: Path, encoder: Path) -> None:
        self._root = root
        self._encoder_folder = encoder
        self._serving: dict[str, tuple[str, PassageIndex]] = {}
        self._stamps: dict[str, Stamp] = {}
        self._pinned: dict[tuple[str, str], PassageIndex] = {}
        self._lock = Lock()
        if domains(root):
            _ = self._encoder
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
                except RetrievalError as exc:
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
        return pointer.version, self._open(folder / pointer.version)

    def _index(self, domain: str, version: str | None) -> PassageIndex | None:
        serving = self._serving.get(domain)
        if version is None or (serving is not None and serving[0] == version):
            return serving[1] if serving else None
        key = (domain, checked_version(version))
        if key in self._pinned:
            return self._pinned[key]
        with self._lock:
            if key not in self._pinned:
                folder = domain_folder(self._root, domain) / version
                self._pinned[key] = self._open(folder)
            return self._pinned[key]

    @cached_property
    def _encoder(self) -> StaticEncoder:
        from retrieval.encoder import StaticEncoder  # see the class for why it is imported here

        return StaticEncoder.load(self._encoder_folder)

    def _open(self, folder: Path) -> PassageIndex:
        from retrieval.index import PassageIndex  # the same

        return PassageIndex.open(folder, self._encoder)


def _stamp(file: Path) -> Stamp | None:
    """Changes whenever the pointer is replaced, as each one is a new file."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
