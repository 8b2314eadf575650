"""What users ask: messages to a bank, each with its one right intent, in parts that share none."""

import json
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from adapters.packs import read_jsonl

DOMAIN, TASK = "banking", "banking_intent"
INTENTS = 24
_JUDGED, _FRESH = 160, 90
_PACK = f'name = "{DOMAIN}"\ntitle = "Messages of a bank\'s customers"\n'


class NoQuestions(Exception):
    """The shared data are not where they were looked for."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and the only answer that is right."""

    messages: tuple[dict[str, str], ...]
    right: str

    @property
    def line(self) -> str:
        """A chat line of a pack."""
        answer = {"role": "assistant", "content": self.right}
        meta = {"task": TASK, "label": self.right}
        return json.dumps({"messages": [*self.messages, answer], "meta": meta}) + "\n"


@dataclass(frozen=True, slots=True)
class Questions:
    """`lessons` are asked by users who correct the answers, `judged` is the owner's evaluation set,
    `fresh` measures what came of it."""

    lessons: tuple[Question, ...]
    judged: tuple[Question, ...]
    fresh: tuple[Question, ...]

    @property
    def intents(self) -> list[str]:
        return sorted({question.right for question in self.lessons})


def read_questions(data: Path, seed: int) -> Questions:
    """The most frequent intents' messages; raises NoQuestions."""
    train, held_out = (_rows(data / "finance" / f"{name}.jsonl") for name in ("train", "eval"))
    frequent = Counter(question.right for question in train).most_common(INTENTS)
    chosen = {intent for intent, _ in frequent}
    mixed = random.Random(seed)
    ours = mixed.sample(train, len(train))
    ours = [question for question in ours if question.right in chosen]
    fresh = [question for question in held_out if question.right in chosen]
    return Questions(tuple(ours[_JUDGED:]), tuple(ours[:_JUDGED]), tuple(fresh[:_FRESH]))


def write_pack(folder: Path, questions: Questions) -> Path:
    """A domain that nobody wrote examples for: an evaluation set and what its users say."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pack.toml").write_text(_PACK, encoding="utf-8")
    lines = "".join(question.line for question in questions.judged)
    (folder / "eval.jsonl").write_text(lines, encoding="utf-8")
    said = (question.messages[-1]["content"] for question in questions.judged)
    queries = "".join(json.dumps({"text": text, "label": DOMAIN}) + "\n" for text in said)
    (folder / "queries.jsonl").write_text(queries, encoding="utf-8")
    return folder


def _rows(path: Path) -> list[Question]:
    if not path.is_file():
        raise NoQuestions(f"{path} is missing; set TURNOUT_DATA to the folder with finance/")
    return [
        Question(tuple(row["messages"][:-1]), row["messages"][-1]["content"])
        for _, row in read_jsonl(path)
        if row["meta"]["task"] == TASK
    ]
