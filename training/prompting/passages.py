"""A domain's passages for an example's question, searched as the gateway searches them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adapters.packs import Pack
from retrieval.passages import Passage
from retrieval.retriever import Retriever
from training.rows import Row


@dataclass(frozen=True, slots=True)
class Passages:
    """The serving index of a domain; `top_k` and `min_score` are its pack's."""

    retriever: Retriever
    domain: str
    top_k: int = 4
    min_score: float = 0.2

    @classmethod
    def open(
        cls, indexes: Path, encoder: Path, domain: str, packs: Sequence[Path] = ()
    ) -> "Passages | None":
        """None where the domain has no index, or its pack, if one of these is, wants no
        passages."""
        found = cls(Retriever(indexes, encoder), domain)
        for pack in map(Pack.load, packs):
            if pack.name == domain:
                found = replace(found, top_k=pack.top_k, min_score=pack.min_score)
        return found if found.top_k and domain in found.retriever.versions() else None

    @property
    def version(self) -> str:
        """The index that is searched."""
        return self.retriever.versions()[self.domain]

    def find(self, row: Row) -> Sequence[Passage]:
        """Passages for the user's last message, best first."""
        query = next((text for role, text in reversed(row.prompt) if role == "user"), row.question)
        return self.retriever.search(self.domain, query, top_k=self.top_k, min_score=self.min_score)
