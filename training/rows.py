"""One training or evaluation example, and reading examples from chat JSONL.

Knows the file format; knows nothing of where the examples came from or what becomes of them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from adapters.errors import PackError
from adapters.packs import read_jsonl
from training.errors import DataError

Message = dict[str, str]
Turn = tuple[str, str]

# OpenAI's newer word for the system's messages, which chat templates do not know.
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
UNNAMED_TASK = "default"


class Kind(StrEnum):
    """What an example can teach: an answer, the better of two answers, or a verdict on one."""

    SFT = "sft"
    PREFERENCE = "preference"
    KTO = "kto"


class Source(StrEnum):
    """Where an example came from."""

    PACK = "pack"
    FILE = "file"
    LOG = "log"
    GENERAL = "general"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt and an answer to it; of a preference pair the better one, of a KTO row the judged.

    `origin` is `file:line` or a receipt, `unit` who asked, `time` when (unix seconds);
    `slice` names a kind of rows whose score is of interest by itself. The answer of a `held` row is
    not learned: training holds the model to what it says there without an adapter.
    """

    prompt: tuple[tuple[str, str], ...]
    answer: str
    task: str = UNNAMED_TASK
    label: str | None = None
    unit: str | None = None
    origin: str = ""
    rejected: str | None = None
    desirable: bool | None = None
    time: float | None = None
    source: Source = Source.FILE
    slice: str | None = None
    held: bool = False

    @property
    def kind(self) -> Kind:
        """Pairs have a rejected answer, KTO rows a verdict, SFT rows neither."""
        if self.rejected is not None:
            return Kind.PREFERENCE
        return Kind.SFT if self.desirable is None else Kind.KTO

    @property
    def is_own(self) -> bool:
        """Whether the domain's owner wrote it: no words of a user are in it."""
        return self.source in (Source.PACK, Source.GENERAL)

    @property
    def is_trusted(self) -> bool:
        """Whether the domain's owner vouches for it: wrote it, or had it reviewed."""
        return self.is_own or self.source is Source.REVIEW

    @property
    def messages(self) -> list[Message]:
        """The prompt as chat messages, without the answer."""
        return [{"role": role, "content": content} for role, content in self.prompt]

    @property
    def question(self) -> str:
        """What the user said: all of the prompt that is not an instruction to the model."""
        return "\n".join(content for role, content in self.prompt if role != "system")

    @property
    def size(self) -> int:
        """Characters of prompt and answers together."""
        answers = len(self.answer) + len(self.rejected or "")
        return answers + sum(len(content) for _, content in self.prompt)


def read_chat(path: Path) -> list[Row]:
    """Read lines `{"messages": […, ANSWER], "meta"?: {"task"?, "label"?, "slice"?, …}}`.

    Raises:
        DataError: the first line that is not such a row, as `file:line: reason`.
    """
    try:
        return [
            parse_chat(row, origin=f"{path.name}:{number}", where=f"{path}:{number}")
            for number, row in read_jsonl(path)
        ]
    except PackError as exc:
        raise DataError(str(exc)) from exc


def parse_chat(line: Mapping[str, Any], *, origin: str, where: str) -> Row:
    """One chat line as a Row; raises DataError that begins with `where`."""
    messages = line.get("messages")
    if not isinstance(messages, list) or len(messages) < 2:
        raise DataError(f'{where}: "messages" must be a list of at least a question and its answer')
    turns = parse_turns(messages, f"{where}: messages")
    role, answer = turns.pop()
    if role != "assistant":
        raise DataError(f"{where}: the last message must be the assistant's answer, not {role!r}")
    return assembled(line, turns, answer, origin=origin, where=where)


def assembled(
    line: Mapping[str, Any],
    turns: Sequence[Turn],
    answer: str,
    *,
    rejected: str | None = None,
    desirable: bool | None = None,
    origin: str,
    where: str,
) -> Row:
    """A row of these parts and the line's `meta`; raises DataError that begins with `where`."""
    if not answer.strip() or (rejected is not None and not rejected.strip()):
        raise DataError(f"{where}: the answer is empty")
    if not any(role == "user" for role, _ in turns):
        raise DataError(f"{where}: no message of the user")
    meta = line.get("meta") or {}
    if not isinstance(meta, dict):
        raise DataError(f'{where}: "meta" must be an object')
    if not isinstance(held := meta.get("held", False), bool):
        raise DataError(f"{where}: meta.held must be true or false, not {held!r:.40}")
    return Row(
        prompt=tuple(turns),
        answer=answer,
        task=_word(meta, "task", where) or UNNAMED_TASK,
        label=_word(meta, "label", where),
        unit=_word(meta, "unit", where),
        origin=origin,
        rejected=rejected,
        desirable=desirable,
        time=_instant(meta, where),
        slice=_word(meta, "slice", where),
        held=held,
    )


def parse_turns(messages: Sequence[object], where: str) -> list[Turn]:
    """Chat messages as (role, text); raises DataError that begins with `where`."""
    return [_turn(message, f"{where}[{i}]") for i, message in enumerate(messages)]


def text_of(content: object) -> str | None:
    """A message's text: a string or OpenAI's list of text parts; None for images, tool calls …"""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content:
        texts = [
            part.get("text")
            for part in content
            if isinstance(part, dict) and part.get("type") == "text"
        ]
        if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
            return "".join(str(text) for text in texts)
    return None


def canonical(row: Row) -> str:
    """What makes two rows the same row: everything but where and when it came from
    and what it is counted with."""
    content = [row.prompt, row.answer, row.task, row.label, row.unit]
    return json.dumps([*content, row.rejected, row.desirable, *(["held"] if row.held else [])])


def _turn(message: object, where: str) -> Turn:
    if not isinstance(message, dict):
        raise DataError(f"{where} must be an object with role and content")
    role, text = message.get("role"), text_of(message.get("content"))
    if not isinstance(role, str) or role not in _ROLES:
        raise DataError(f"{where}: role {role!r:.40} is not one of {', '.join(sorted(_ROLES))}")
    if text is None:
        raise DataError(f"{where}: content must be text")
    return _ROLES[role], encodable(text, where)


def _instant(meta: Mapping[str, Any], where: str) -> float | None:
    value = meta.get("time")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{where}: meta.time must be unix seconds")
    return float(value)


def _word(meta: Mapping[str, Any], name: str, where: str) -> str | None:
    value = meta.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise DataError(f"{where}: meta.{name} must be a string, not {type(value).__name__}")
    return encodable(value, where)


def encodable(text: str, where: str) -> str:
    """JSON can spell halves of a surrogate pair, which no tokeniser accepts."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise DataError(f"{where}: not valid Unicode ({exc.reason})") from exc
    return text
