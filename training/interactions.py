"""Examples from the log: corrected answers, and answers that people found good.

Only what people vouch for, by feedback, and only where the caller agreed to training. A judge is
none of them, and nobody saw what a shadow arm answered.
"""

from collections.abc import Iterable, Sequence

from adapters.experiments.measures import JUDGE
from adapters.interactions import Feedback, Interaction, JudgedInteraction, Outcome
from training.curate import Reason, Removed
from training.errors import DataError
from training.rows import Row, parse_chat

LOG_TASK = "log"
_PRAISE = frozenset({"up", "thumbs_up", "positive", "good", "true"})


def rows_from_log(
    judged: Iterable[JudgedInteraction], threshold: float = 0.5
) -> tuple[list[Row], list[Removed]]:
    """SFT rows from judged interactions, and what was left out.

    The newest demonstration takes the place of the answer. Without one, the answer itself is an
    example if the newest judgement by each metric is positive: true, praise, or a number of at
    least `threshold`.
    """
    rows: list[Row] = []
    removed: list[Removed] = []
    for item in judged:
        said = [one for one in item.feedback if not one.metric.startswith(JUDGE)]
        if not said or item.interaction.shadow_of is not None:
            continue
        example = _example(item.interaction, said, threshold)
        if isinstance(example, Row):
            rows.append(example)
        else:
            removed.append(example)
    return rows, removed


def is_positive(value: bool | float | str | None, threshold: float) -> bool:
    """Whether a judgement's value speaks for the answer."""
    if isinstance(value, bool) or value is None:
        return value is True
    if isinstance(value, str):
        return value.strip().lower() in _PRAISE
    return value >= threshold


def _example(
    interaction: Interaction, feedback: Sequence[Feedback], threshold: float
) -> Row | Removed:
    if not interaction.train:
        return Removed(interaction.id, Reason.NO_CONSENT)
    demonstrations = [f.demonstration for f in feedback if f.demonstration]
    if demonstrations:
        return _row(interaction, demonstrations[-1])
    if interaction.outcome is not Outcome.OK or not _is_praised(feedback, threshold):
        return Removed(interaction.id, Reason.NOT_POSITIVE)
    answer = interaction.response.get("text")
    if not isinstance(answer, str):
        return Removed(interaction.id, Reason.UNUSABLE, "the response holds no text")
    return _row(interaction, answer)


def _is_praised(feedback: Iterable[Feedback], threshold: float) -> bool:
    newest = {judgement.metric: judgement.value for judgement in feedback}
    return all(is_positive(value, threshold) for value in newest.values())


def _row(interaction: Interaction, answer: str) -> Row | Removed:
    asked = interaction.request.get("messages")
    messages = asked if isinstance(asked, list) else []
    line = {
        "messages": [*messages, {"role": "assistant", "content": answer}],
        "meta": {"task": LOG_TASK, "unit": interaction.unit},
    }
    try:
        return parse_chat(line, origin=interaction.id, where=interaction.id)
    except DataError as exc:
        return Removed(interaction.id, Reason.UNUSABLE, str(exc))
