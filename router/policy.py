"""What is looked at and what is allowed: the text a conversation is judged by, and the final word
on a classified query. Knows nothing of how the classifier works."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from router.decision import GENERAL, Reason

SHORT_TURN_WORDS = 4


def query_text(messages: Sequence[Mapping[str, object]]) -> str:
    """The text to route a chat by: its last user turn.

    System prompts, answers and tool results do not count: they are long, the same in every
    request of an application, and would decide in the user's place. A last turn of at most
    SHORT_TURN_WORDS words ("and in winter?") is judged together with the user turn before it.
    """
    turns = _user_turns(messages)
    last = next(turns, "")
    if last and len(last.split(maxsplit=SHORT_TURN_WORDS)) <= SHORT_TURN_WORDS:
        before = next(turns, "")
        return f"{last}\n{before}" if before else last
    return last


def final_target(
    best: str, probability: float, threshold: float, allowed: Collection[str] | None
) -> tuple[str, Reason]:
    """Where the classifier's best label leads; `allowed` None means every label is served."""
    if probability < threshold:
        return GENERAL, Reason.BELOW_THRESHOLD
    if best != GENERAL and allowed is not None and best not in allowed:
        return GENERAL, Reason.NO_PACK
    return best, Reason.CLASSIFIER


def _user_turns(messages: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """Texts of the user's turns that have any, the last one first."""
    for message in reversed(messages):
        if message.get("role") == "user":
            text = _content_text(message.get("content")).strip()
            if text:
                yield text


def _content_text(content: object) -> str:
    """Text of a message's content, which is a string or a list of typed parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, Mapping))
    return "\n".join(text for text in texts if isinstance(text, str))
