"""The prompt as the model saw it: with the system prompt and the passages that the gateway added.

The record names passages and the index they came from; their texts are read from that index.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from adapters.errors import PackError
from adapters.interactions import Interaction
from adapters.packs import read_jsonl
from retrieval.errors import IndexingError
from retrieval.passages import Passage
from retrieval.prompt import ground
from retrieval.versions import checked_version, domain_folder
from training.errors import TrainingError


class ContextLost(TrainingError):
    """The passages of an answer are gone; the message says which."""


class Context:
    """Asked messages with what the gateway put before them.

    Args:
        indexes: where index versions lie; None where nothing was ever retrieved.
        system_prompts: of each domain; for requests that bring none.
    """

    def __init__(
        self, indexes: Path | None = None, system_prompts: Mapping[str, str] | None = None
    ) -> None:
        self._indexes = indexes
        self._system_prompts = system_prompts or {}
        self._passages = lru_cache(maxsize=8)(self._read)

    def messages(self, interaction: Interaction) -> list[Any]:
        """The prompt's messages, grounded; raises ContextLost."""
        asked = interaction.request.get("messages")
        messages = asked if isinstance(asked, list) else []
        if not all(isinstance(message, dict) for message in messages):
            return messages
        instructed = any(m.get("role") in ("system", "developer") for m in messages)
        prompt = self._system_prompts.get(interaction.target)
        if prompt and messages and not instructed:
            messages = [{"role": "system", "content": prompt}, *messages]
        if not interaction.sources:
            return messages
        known = self._passages(interaction.target, interaction.index_version)
        lost = [name for name in interaction.sources if name not in known]
        if lost:
            raise ContextLost(f"index {interaction.index_version} has no passage {lost[0]!r}")
        return list(ground(messages, [known[name] for name in interaction.sources]))

    def _read(self, domain: str, version: str | None) -> dict[str, Passage]:
        if self._indexes is None:
            raise ContextLost("there is no folder of indexes to read the passages from")
        try:
            file = (
                domain_folder(self._indexes, domain) / checked_version(version) / "passages.jsonl"
            )
            passages = [Passage(**row) for _, row in read_jsonl(file)]
        except (IndexingError, PackError, TypeError) as exc:
            raise ContextLost(f"the passages of index {version} are gone: {exc}") from exc
        return {passage.id: passage for passage in passages}
