"""Examples from the log: corrections, and answers that people liked, disliked or preferred.

Only what people say, by feedback, and only where caller and key agreed to training. A judge is none
of them, and nobody saw what a shadow arm answered.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from adapters.experiments.measures import JUDGE
from adapters.interactions import Feedback, Interaction, JudgedInteraction, Outcome
from training.curation.context import Context, ContextLost
from training.curation.removal import Reason, Removed
from training.errors import DataError
from training.rows import Row, Source, canonical, parse_chat

LOG_TASK = "log"
_PRAISE = frozenset({"up", "thumbs_up", "positive", "good", "true"})


@dataclass(frozen=True, slots=True)
class _Answered:
    """An answer that was judged and may be used: as a row, with what was said of it and a digest
    of the messages it answers."""

    row: Row
    feedback: tuple[Feedback, ...]
    asked: str


@dataclass(frozen=True, slots=True)
class _Original:
    """What a model answered to which messages, judged or not."""

    text: str
    asked: str


def rows_from_log(
    judged: Iterable[JudgedInteraction],
    threshold: float = 0.5,
    *,
    context: Context | None = None,
    opted_out: Collection[str] = (),
) -> tuple[list[Row], list[Removed]]:
    """Rows of all kinds from judged interactions, and what was left out.

    The newest demonstration is an example, and better than the answer. Without one, an answer is an
    example if the newest judgement by each metric is positive (true, praise, or a number of at
    least `threshold`), and good or bad for KTO if they agree. An answer preferred over another, or
    liked where another to the same messages was disliked, makes a pair. Keys in `opted_out` give
    nothing.
    """
    context = context or Context()
    originals: dict[str, _Original] = {}
    answered: dict[str, _Answered] = {}
    rows: list[Row] = []
    removed: list[Removed] = []
    used: set[str] = set()
    for item in judged:
        asked = item.interaction
        said = [one for one in item.feedback if not one.metric.startswith(JUDGE)]
        if asked.shadow_of is not None:
            continue
        if asked.train and asked.key not in opted_out and (text := whole_text(asked)):
            originals[asked.id] = _Original(text, _asked(asked))
        if not said:
            continue
        found = _usable(asked, said, context, opted_out)
        if isinstance(found, Removed):
            removed.append(found)
            continue
        answered[asked.id] = found
        some = list(_examples(asked, found, threshold))
        rows += some
        used |= {row.origin for row in some}
    pairs = [*_preferred(answered, originals), *_opposed(answered, threshold)]
    rows += {canonical(pair): pair for pair in pairs}.values()
    used |= {pair.origin for pair in pairs}
    undecided = (name for name in answered if name not in used)
    return rows, removed + [Removed(name, Reason.UNDECIDED) for name in undecided]


def is_positive(value: bool | float | str | None, threshold: float) -> bool:
    """Whether a judgement's value speaks for the answer."""
    if isinstance(value, bool) or value is None:
        return value is True
    if isinstance(value, str):
        return value.strip().lower() in _PRAISE
    return value >= threshold


def _usable(
    interaction: Interaction,
    feedback: Sequence[Feedback],
    context: Context,
    opted_out: Collection[str],
) -> _Answered | Removed:
    if not interaction.train:
        return Removed(interaction.id, Reason.NO_CONSENT)
    if interaction.key in opted_out:
        return Removed(interaction.id, Reason.OPTED_OUT, "its key's owner opted out")
    demonstrated = [f.demonstration for f in feedback if f.demonstration]
    answer = demonstrated[-1] if demonstrated else whole_text(interaction)
    if answer is None:
        return Removed(interaction.id, Reason.UNUSABLE, "the response holds no whole text")
    try:
        row = row_of(interaction, context.messages(interaction), answer)
    except ContextLost as exc:
        return Removed(interaction.id, Reason.NO_CONTEXT, str(exc))
    except DataError as exc:
        return Removed(interaction.id, Reason.UNUSABLE, str(exc))
    return _Answered(row, tuple(feedback), _asked(interaction))


def whole_text(interaction: Interaction) -> str | None:
    """The model's answer, unless it broke off or is no text."""
    text = interaction.response.get("text")
    is_whole = interaction.outcome is Outcome.OK and isinstance(text, str) and text.strip()
    return text if is_whole else None


def _asked(interaction: Interaction) -> str:
    messages = repr(interaction.request.get("messages"))
    return hashlib.sha256(messages.encode("utf-8", "replace")).hexdigest()


def row_of(interaction: Interaction, messages: Sequence[object], answer: str) -> Row:
    """An answer to these messages as an example; raises DataError if it is none."""
    facts = interaction.request.get("metadata")
    task = facts.get("task") if isinstance(facts, Mapping) else None
    line = {
        "messages": [*messages, {"role": "assistant", "content": answer}],
        "meta": {
            "task": task if isinstance(task, str) and task else LOG_TASK,
            "unit": interaction.unit,
            "time": interaction.created,
        },
    }
    row = parse_chat(line, origin=interaction.id, where=interaction.id)
    return replace(row, source=Source.LOG)


def _examples(interaction: Interaction, found: _Answered, threshold: float) -> Iterator[Row]:
    """What one answer and the feedback on it teach by themselves."""
    if any(judgement.demonstration for judgement in found.feedback):
        yield found.row
        if original := whole_text(interaction):
            yield from _pair(found.row, original)
        return
    verdict = _verdict(found.feedback, threshold)
    if verdict is not None:
        yield replace(found.row, desirable=verdict)
    if verdict:
        yield found.row


def verdicts(feedback: Iterable[Feedback], threshold: float = 0.5) -> set[bool]:
    """What people said of an answer: good, bad, both or nothing; by each metric the last word."""
    newest = {f.metric: f.value for f in feedback if f.value is not None and not f.preferred_over}
    return {is_positive(value, threshold) for value in newest.values()}


def _verdict(feedback: Iterable[Feedback], threshold: float) -> bool | None:
    """Whether people found an answer good; None where they said nothing of it, or disagree."""
    found = verdicts(feedback, threshold)
    return found.pop() if len(found) == 1 else None


def _preferred(
    answered: Mapping[str, _Answered], originals: Mapping[str, _Original]
) -> Iterator[Row]:
    """Pairs that somebody ordered."""
    for better in answered.values():
        for judgement in better.feedback:
            worse = originals.get(judgement.preferred_over or "")
            if worse is not None and worse.asked == better.asked:
                yield from _pair(better.row, worse.text)


def _opposed(answered: Mapping[str, _Answered], threshold: float) -> Iterator[Row]:
    """Pairs of a liked answer and a disliked one to the same messages; each disliked one once."""
    liked: dict[str, Row] = {}
    disliked: dict[str, list[Row]] = defaultdict(list)
    for item in answered.values():
        shown = any(judgement.demonstration for judgement in item.feedback)
        verdict = True if shown else _verdict(item.feedback, threshold)
        if verdict:
            liked.setdefault(item.asked, item.row)
        elif verdict is False:
            disliked[item.asked].append(item.row)
    for asked, better in liked.items():
        for worse in disliked[asked]:
            yield from _pair(better, worse.answer)


def _pair(better: Row, worse: str) -> Iterator[Row]:
    if better.answer.strip() != worse.strip():
        yield replace(better, rejected=worse)
