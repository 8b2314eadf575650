"""One training or evaluation example, and reading examples from chat JSONL.

Knows the file format; knows nothing of where the examples came from or what becomes of them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.errors import PackError
from adapters.packs import read_jsonl
from training.errors import DataError

Message = dict[str, str]

_ROLES = frozenset({"system", "user", "assistant"})
UNNAMED_TASK = "default"


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt and its expected answer. `origin` is `file:line` or a receipt, `unit` who asked."""

    prompt: tuple[tuple[str, str], ...]
    answer: str
    task: str = UNNAMED_TASK
    label: str | None = None
    unit: str | None = None
    origin: str = ""

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
        """Characters of prompt and answer together."""
        return len(self.answer) + sum(len(content) for _, content in self.prompt)


def read_chat(path: Path) -> list[Row]:
    """Read lines `{"messages": […, ANSWER], "meta"?: {"task"?, "label"?, "unit"?}}`.

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
    turns = [_turn(message, f"{where}: messages[{i}]") for i, message in enumerate(messages)]
    role, answer = turns.pop()
    if role != "assistant":
        raise DataError(f"{where}: the last message must be the assistant's answer, not {role!r}")
    if not answer.strip():
        raise DataError(f"{where}: the answer is empty")
    if not any(role == "user" for role, _ in turns):
        raise DataError(f"{where}: no message of the user")
    meta = line.get("meta") or {}
    if not isinstance(meta, dict):
        raise DataError(f'{where}: "meta" must be an object')
    return Row(
        prompt=tuple(turns),
        answer=answer,
        task=_word(meta, "task", where) or UNNAMED_TASK,
        label=_word(meta, "label", where),
        unit=_word(meta, "unit", where),
        origin=origin,
    )


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
    """What makes two rows the same row: everything but where it came from."""
    return json.dumps([row.prompt, row.answer, row.task, row.label, row.unit])


def _turn(message: object, where: str) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise DataError(f"{where} must be an object with role and content")
    role, text = message.get("role"), text_of(message.get("content"))
    if not isinstance(role, str) or role not in _ROLES:
        raise DataError(f"{where}: role {role!r} is not one of {', '.join(sorted(_ROLES))}")
    if text is None:
        raise DataError(f"{where}: content must be text")
    return role, _encodable(text, where)


def _word(meta: Mapping[str, Any], name: str, where: str) -> str | None:
    value = meta.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise DataError(f"{where}: meta.{name} must be a string, not {type(value).__name__}")
    return _encodable(value, where)


def _encodable(text: str, where: str) -> str:
    """JSON can spell halves of a surrogate pair, which no tokeniser accepts."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise DataError(f"{where}: not valid Unicode ({exc.reason})") from exc
    return text
