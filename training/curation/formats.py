"""Examples in other people's formats: OpenAI's chat and preference lines, and TRL's.

{"messages": […, ANSWER]}                                        OpenAI chat
{"input": {"messages"}, "preferred_output", "non_preferred_output"}   OpenAI preference
{"prompt", "completion"}                                         TRL, an answer
{"prompt"?, "chosen", "rejected"}                                TRL, a preference pair
{"prompt", "completion", "label": true | false}                  TRL, for KTO

TRL's values are texts or lists of messages. A file may mix them; each line may have a "meta".
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from adapters.errors import PackError
from adapters.packs import read_jsonl
from training.errors import DataError
from training.rows import Kind, Row, Turn, assembled, encodable, parse_chat, parse_turns

_KNOWN = (
    'expected "messages" (OpenAI chat), "input" with "preferred_output" and '
    '"non_preferred_output" (OpenAI preference), or TRL\'s "prompt" with "completion" or with '
    '"chosen" and "rejected"'
)


def read_examples(path: Path) -> list[Row]:
    """Rows of every kind, line by line.

    Raises:
        DataError: the first line that is not an example, as `file:line: reason`.
    """
    try:
        return [
            parse_example(line, origin=f"{path.name}:{number}", where=f"{path}:{number}")
            for number, line in read_jsonl(path)
        ]
    except PackError as exc:
        raise DataError(str(exc)) from exc


def parse_example(line: Mapping[str, Any], *, origin: str, where: str) -> Row:
    """One line of any format; raises DataError that begins with `where`."""
    rejected: str | None = None
    desirable: bool | None = None
    match line:
        case {"messages": _}:
            return parse_chat(line, origin=origin, where=where)
        case {"input": {"messages": list(asked)}, "preferred_output": a, "non_preferred_output": b}:
            turns = parse_turns(asked, f"{where}: input.messages")
            answer = _answer(a, f"{where}: preferred_output")
            rejected = _answer(b, f"{where}: non_preferred_output")
        case {"chosen": chosen, "rejected": worse}:
            turns, answer, rejected = _pair(line.get("prompt"), chosen, worse, where)
        case {"prompt": prompt, "completion": completion}:
            turns = _prompt(prompt, where)
            answer = _answer(completion, f"{where}: completion")
            desirable = line.get("label")
            if desirable is not None and not isinstance(desirable, bool):
                raise DataError(f"{where}: label must be true or false, not {desirable!r:.40}")
        case _:
            raise DataError(f"{where}: {_KNOWN}; found {', '.join(sorted(line))[:80] or 'nothing'}")
    if answer == rejected:
        raise DataError(f"{where}: the preferred answer and the other one are the same")
    parts = {"rejected": rejected, "desirable": desirable}
    return assembled(line, turns, answer, **parts, origin=origin, where=where)  # type: ignore[arg-type]


def written(row: Row) -> str:
    """A row as a line that `read_examples` reads: chat for answers, TRL's for the other kinds."""
    facts = {
        "task": row.task,
        "label": row.label,
        "unit": row.unit,
        "time": row.time,
        "slice": row.slice,
        "held": row.held or None,
    }
    meta = {name: value for name, value in facts.items() if value is not None}
    answer = _said(row.answer)
    line: dict[str, Any]
    match row.kind:
        case Kind.SFT:
            line = {"messages": [*row.messages, *answer]}
        case Kind.PREFERENCE:
            rejected = _said(row.rejected or "")
            line = {"prompt": row.messages, "chosen": answer, "rejected": rejected}
        case Kind.KTO:
            line = {"prompt": row.messages, "completion": answer, "label": row.desirable}
    return json.dumps(line | {"meta": meta | {"origin": row.origin}}, ensure_ascii=False) + "\n"


def write_examples(path: Path, rows: Iterable[Row]) -> None:
    """Rows as JSONL."""
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(map(written, rows))


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _prompt(value: object, where: str) -> list[Turn]:
    if isinstance(value, str):
        return [("user", encodable(value, f"{where}: prompt"))]
    if isinstance(value, list):
        return parse_turns(value, f"{where}: prompt")
    raise DataError(f"{where}: prompt must be a text or a list of messages")


def _answer(value: object, where: str) -> str:
    """An answer's text: as it is, or as the one message of the assistant in a list."""
    if isinstance(value, str):
        return encodable(value, where)
    turns = parse_turns(value, where) if isinstance(value, list) else []
    if len(turns) != 1 or turns[0][0] != "assistant":
        raise DataError(f"{where} must be a text or a list of one assistant message")
    return turns[0][1]


def _pair(
    prompt: object, chosen: object, rejected: object, where: str
) -> tuple[list[Turn], str, str]:
    """Prompt and both answers; without a prompt, both are whole conversations that begin alike."""
    if prompt is not None:
        better, worse = _answer(chosen, f"{where}: chosen"), _answer(rejected, f"{where}: rejected")
        return _prompt(prompt, where), better, worse
    if not isinstance(chosen, list) or not isinstance(rejected, list):
        raise DataError(f'{where}: without a "prompt", chosen and rejected must be lists')
    if not chosen or chosen[:-1] != rejected[:-1]:
        raise DataError(f"{where}: chosen and rejected must differ in their last message only")
    turns = parse_turns(chosen[:-1], f"{where}: chosen")
    last = [_answer(side[-1:], f"{where}: last message") for side in (chosen, rejected)]
    return turns, last[0], last[1]
