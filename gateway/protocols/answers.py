"""What Turnout adds to an engine's answer: the sources, as OpenAI annotations and under
`turnout`."""

from collections.abc import Sequence
from typing import Any

from retrieval.passages import Passage


def source_list(passages: Sequence[Passage]) -> list[dict[str, Any]]:
    """The passages as `turnout.sources`."""
    return [
        {
            "id": passage.id,
            "title": passage.title,
            "text": passage.text,
            "score": round(passage.score, 4),
            "url": passage.url,
            "source": passage.source,
        }
        for passage in passages
    ]


def annotations(passages: Sequence[Passage], text: str = "") -> list[dict[str, Any]]:
    """`url_citation` annotations (OpenAI chat completions), one per passage.

    A citation spans its `[n]` in the text where the model wrote one, else the whole text. A passage
    without a URL is
    named `turnout:PASSAGE_ID`.
    """
    found = []
    for number, passage in enumerate(passages, start=1):
        mark = f"[{number}]"
        start = text.find(mark)
        span = (start, start + len(mark)) if start >= 0 else (0, len(text))
        citation = {
            "start_index": span[0],
            "end_index": span[1],
            "url": passage.url or f"turnout:{passage.id}",
            "title": passage.title,
        }
        found.append({"type": "url_citation", "url_citation": citation})
    return found


def add_sources(body: dict[str, Any], passages: Sequence[Passage]) -> None:
    """Put the sources into a whole chat answer, in place."""
    body["turnout"] = {"sources": source_list(passages)}
    for choice in body.get("choices") or ():
        message = choice.get("message")
        if isinstance(message, dict):
            message["annotations"] = annotations(passages, message.get("content") or "")
