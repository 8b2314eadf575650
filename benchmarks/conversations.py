"""Conversations made of real queries: how well a router follows their subject.

python -m benchmarks.conversations: a conversation has 4 to 6 turns, queries of one label in no
order; in every second one the label changes once, from the third turn on. Up to two turns are short
follow-ups that name no subject and belong to the one before.
"""

import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

import click

from adapters.cli import as_json, show_table
from benchmarks import corpus
from router import Cascade, Decision, conversation
from router.examples import Example

COUNT, COUNT_CASCADE = 1_000, 400
LENGTHS = (4, 6)
SEED = 11
# Others than those the filter's numbers were chosen with.
FOLLOW_UPS = (
    "and on weekends?",
    "why?",
    "how much is it?",
    "please go on",
    "what about my son?",
    "is there another way?",
    "and if it fails?",
    "give me an example",
    "how do I start?",
    "really?",
    "what does that mean?",
    "and next year?",
    "shorter please",
    "who can help me?",
    "so what now?",
    "does it matter?",
)

Decide = Callable[[Sequence[str]], Decision]


@dataclass(frozen=True, slots=True)
class Conversation:
    """The user's turns with their labels; `change` is the first turn of the second subject."""

    turns: tuple[str, ...]
    labels: tuple[str, ...]
    change: int | None
    follow_ups: frozenset[int]


@dataclass(frozen=True, slots=True)
class Followed:
    """Of one conversation: whether each turn went right, and each follow-up; how often the target
    changed without cause; turns until a change of subject was followed; turns that were asked of
    the second stage."""

    right: list[bool]
    follow_ups: list[bool]
    flaps: int
    delay: int | None
    second: int


@dataclass(frozen=True, slots=True)
class Score:
    """Shares, but for `flaps`, which is a number for each conversation."""

    conversations: int
    right: float
    follow_ups: float
    flaps: float
    at_once: float
    within_one: float
    second_stage: float


def made(examples: Sequence[Example], count: int) -> list[Conversation]:
    draw = random.Random(SEED)
    texts: dict[str, list[str]] = defaultdict(list)
    for example in examples:
        texts[example.label].append(example.text)
    return [_made(draw, texts, changes=place % 2 == 1) for place in range(count)]


def _made(draw: random.Random, texts: dict[str, list[str]], *, changes: bool) -> Conversation:
    length = draw.randint(*LENGTHS)
    before, after = draw.sample(sorted(texts), 2)
    change = draw.randint(2, length - 1) if changes else None
    labels = [before if change is None or turn < change else after for turn in range(length)]
    places = [turn for turn in range(1, length) if turn != change]
    follow_ups = frozenset(draw.sample(places, draw.choice([0, 1, 2])))
    queries = {label: draw.sample(texts[label], length) for label in (before, after)}
    turns = [
        draw.choice(FOLLOW_UPS) if turn in follow_ups else queries[label].pop()
        for turn, label in enumerate(labels)
    ]
    return Conversation(tuple(turns), tuple(labels), change, follow_ups)


def followed(one: Conversation, decide: Decide) -> Followed:
    decisions = [decide(one.turns[: turn + 1]) for turn in range(len(one.turns))]
    targets = [decision.target for decision in decisions]
    right = [target == label for target, label in zip(targets, one.labels, strict=True)]
    arrived = None
    if one.change is not None:
        arrived = next((t for t in range(one.change, len(right)) if right[t]), len(right))
    moves = [turn for turn in range(1, len(targets)) if targets[turn] != targets[turn - 1]]
    return Followed(
        right=right,
        follow_ups=[right[turn] for turn in one.follow_ups],
        flaps=sum(turn not in (one.change, arrived) for turn in moves),
        delay=None if arrived is None or one.change is None else arrived - one.change,
        second=sum(decision.stage == 2 for decision in decisions),
    )


def score(rows: Sequence[Followed]) -> Score:
    delays = [row.delay for row in rows if row.delay is not None]
    turns = [right for row in rows for right in row.right]
    return Score(
        conversations=len(rows),
        right=mean(turns),
        follow_ups=mean(right for row in rows for right in row.follow_ups),
        flaps=mean(row.flaps for row in rows),
        at_once=mean(delay == 0 for delay in delays),
        within_one=mean(delay <= 1 for delay in delays),
        second_stage=sum(row.second for row in rows) / len(turns),
    )


def ways(cascade: Cascade) -> Iterator[tuple[str, int, Decide]]:
    """Ways to decide the last turn, and on how many conversations each is judged."""
    first, text_of = cascade.first, conversation.text_of
    yield "first stage, last turn only", COUNT, lambda turns: first.decide(turns[-1])
    yield "first stage, query_text", COUNT, lambda turns: first.decide(text_of(turns))
    yield "first stage, filter", COUNT, lambda turns: conversation.decide(first, turns)
    yield "cascade, query_text", COUNT_CASCADE, lambda turns: cascade.decide(text_of(turns))
    yield "cascade, filter", COUNT_CASCADE, cascade.decide_turns


@click.command()
@corpus.data
@as_json
def main(data: Path, as_json: bool) -> None:
    """Have conversations of evaluation queries decided turn by turn."""
    found = {}
    with corpus.corpus(data) as queries:
        cascade = Cascade.load(queries.fitted(queries.train, "all"))
        conversations = made(queries.test, COUNT)
        for name, count, decide in ways(cascade):
            done, rows = queries.task(name), []
            for one in conversations[:count]:
                rows.append(followed(one, decide))
                done(len(rows), count)
            found[name] = score(rows)
    if as_json:
        click.echo(json.dumps({name: asdict(each) for name, each in found.items()}))
    else:
        show_table(
            ("", "n", "right a turn", "follow-ups", "flaps", "at once", "within one", "2nd stage"),
            [(name, each.conversations, *_cells(each)) for name, each in found.items()],
        )


def _cells(each: Score) -> Iterator[str]:
    for name in ("right", "follow_ups", "flaps", "at_once", "within_one", "second_stage"):
        yield f"{getattr(each, name):.3f}"


if __name__ == "__main__":
    main()
