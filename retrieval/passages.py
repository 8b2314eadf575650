"""The value a search returns: one piece of a document, with where it came from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document; `id` is `{doc_id}#{n}` and stable while the document is unchanged.

    `score` is the cosine between the query and the passage, in [-1, 1]; 0.0 before any search.
    """

    id: str
    doc_id: str
    title: str
    text: str
    score: float = 0.0
    source: str | None = None
    url: str | None = None
