"""Rows that say the same as another, and rows that contradict each other."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from training.curation.removal import Reason, Removed
from training.curation.similarity import clusters
from training.rows import Row

# Longer answers are texts, of which a question can have several good ones; shorter are decisions.
MOST_WORDS_OF_A_DECISION = 8
# Of those who answered a question, this share has to agree, and so many of them.
MAJORITY = 2 / 3
FEWEST_VOICES = 3


def drop_repeated(rows: Iterable[Row]) -> tuple[list[Row], list[Removed]]:
    """Each example once, with the first origin."""
    first: dict[tuple[object, ...], Row] = {}
    removed = []
    for row in rows:
        teaches = (row.kind, row.prompt, row.answer, row.rejected, row.desirable)
        seen = first.setdefault(teaches, row)
        if seen is not row:
            removed.append(Removed(row.origin, Reason.DUPLICATE, f"same as {seen.origin}"))
    return list(first.values()), removed


def drop_similar(rows: Sequence[Row]) -> tuple[list[Row], list[Removed]]:
    """The first of each cluster of near-duplicates (Jaccard of trigrams 0.8) that teach alike."""
    alike: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        decision = row.answer if is_decision(row) else None
        alike[row.kind, row.task, row.desirable, decision].append(index)
    removed: dict[int, Removed] = {}
    for members in alike.values():
        firsts = clusters([_said(rows[index]) for index in members])
        for index, first in zip(members, firsts, strict=True):
            if members[first] != index:
                detail = f"nearly the same as {rows[members[first]].origin}"
                removed[index] = Removed(rows[index].origin, Reason.NEAR_DUPLICATE, detail)
    kept = [row for index, row in enumerate(rows) if index not in removed]
    return kept, list(removed.values())


def drop_contradictions(rows: Sequence[Row]) -> tuple[list[Row], list[Removed]]:
    """One question with two decisions teaches neither, unless most who answered agree.

    The owner's own rows, where there are some, outvote users. An answer that some taught and
    others disliked, and a pair that others ordered the other way, go as well.
    """
    verdicts = _verdicts(rows)
    kept, removed = [], []
    for row in rows:
        rivals = verdicts.get(_key(row))
        if rivals is None or row.answer == rivals[0]:
            kept.append(row)
        else:
            detail = f"{_short(row.question)}: " + " / ".join(map(_short, sorted(rivals[1])))
            removed.append(Removed(row.origin, Reason.CONTRADICTION, detail))
    kept, disputed = _drop_disputed(kept)
    return kept, removed + disputed


def is_decision(row: Row) -> bool:
    """Whether an answer is a label or another short decision rather than a text."""
    return row.label is not None or len(row.answer.split()) <= MOST_WORDS_OF_A_DECISION


def _verdicts(rows: Iterable[Row]) -> dict[object, tuple[str | None, set[str]]]:
    """For each question with several decisions: the answer that prevails, if any, and all."""
    asked: dict[object, list[Row]] = defaultdict(list)
    for row in rows:
        if (key := _key(row)) is not None:
            asked[key].append(row)
    verdicts: dict[object, tuple[str | None, set[str]]] = {}
    for key, answers in asked.items():
        found = {row.answer for row in answers}
        if len(found) > 1:
            verdicts[key] = _prevailing(answers), found
    return verdicts


def _prevailing(rows: Sequence[Row]) -> str | None:
    owners = {row.answer for row in rows if row.is_trusted}
    if owners:
        return owners.pop() if len(owners) == 1 else None
    voices = {(row.unit or row.origin, row.answer) for row in rows}
    counts: dict[str, int] = defaultdict(int)
    for _, answer in voices:
        counts[answer] += 1
    answer, most = max(counts.items(), key=lambda item: (item[1], item[0]))
    return answer if most >= max(FEWEST_VOICES, MAJORITY * len(voices)) else None


def _key(row: Row) -> object:
    """What a decision answers; None for rows that are no decisions to be learned."""
    return (
        row.prompt if row.rejected is None and row.desirable is None and is_decision(row) else None
    )


def _drop_disputed(rows: Sequence[Row]) -> tuple[list[Row], list[Removed]]:
    disliked = {(row.prompt, row.answer) for row in rows if row.desirable is False}
    taught = {
        (row.prompt, row.answer)
        for row in rows
        if row.rejected is None and row.desirable is not False
    }
    disputed = disliked & taught
    pairs = {(row.prompt, row.answer, row.rejected) for row in rows}
    kept, removed = [], []
    for row in rows:
        turned = (row.prompt, row.rejected, row.answer) in pairs
        if turned or (
            row.rejected is None and (row.prompt, row.answer) in disputed and not row.is_trusted
        ):
            removed.append(
                Removed(
                    row.origin, Reason.CONTRADICTION, f"{_short(row.question)}: liked and disliked"
                )
            )
        else:
            kept.append(row)
    return kept, removed


def _said(row: Row) -> str:
    """What is compared: the question, and answers that are texts."""
    answers = () if is_decision(row) else (row.answer,)
    return "\n".join((row.question, *answers, row.rejected or ""))


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 60 else flat[:59] + "…"
