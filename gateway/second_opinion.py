"""Any endpoint in the shape of OpenAI's Decisions API as a router's second stage: one `choice`
question, whose choices are the targets. Knows no catalog."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
import orjson
from msgspec import Meta, Struct
from msgspec.structs import replace

from adapters.engines.client import Question
from adapters.errors import EngineError
from gateway.inquiry import ask
from gateway.router_settings import SecondSettings
from router.decision import Decision
from router.features import shortened
from router.policy import best_target

_INSTRUCTIONS = "Which specialist should answer this user? Choose by the subject of the question."


class _Share(Struct):
    value: str | bool
    probability: Annotated[float, Meta(ge=0, le=1)]


class _Answer(Struct):
    probabilities: list[_Share] = []


class _Answers(Struct):
    answers: Annotated[list[_Answer], Meta(min_length=1)]


async def second_opinion(
    endpoint: SecondSettings,
    text: str,
    first: Decision,
    choices: Mapping[str, str],
    thresholds: Mapping[str, float],
) -> Decision:
    """What `first` becomes; `choices` are labels and what they stand for, at least two.
    `thresholds` are by label as well.

    Raises:
        EngineTimeout: no answer in time.
        EngineError: no connection, or an answer that is none of ours.
    """
    body = {
        "model": endpoint.model,
        "input": shortened(text),
        "questions": [
            {
                "type": "choice",
                "name": "target",
                "instructions": _INSTRUCTIONS,
                "choices": [
                    {"value": label, "description": description}
                    for label, description in choices.items()
                ],
            }
        ],
    }
    url = f"{endpoint.url}/decisions"
    content = orjson.dumps(body)
    question = Question("POST", url, content, endpoint.bearer, endpoint.timeout_s)
    status, answer = await ask(question)
    if status != 200:
        raise EngineError(f"{url}: {status} {answer[:300].decode(errors='replace')}", status)
    shares = _shares(url, answer, choices)
    best, target, reason = best_target(shares, thresholds, None)
    return replace(
        first,
        target=target,
        probability=shares[best],
        probabilities=shares,
        reason=reason,
        unsure=False,
        stage=2,
    )


def _shares(url: str, answer: bytes, choices: Mapping[str, str]) -> dict[str, float]:
    """Probabilities by label; a refusal has none."""
    try:
        read = msgspec.json.decode(answer, type=_Answers).answers[0]
    except msgspec.MsgspecError as exc:
        raise EngineError(f"{url}: not a decision ({exc})") from exc
    given = {str(share.value): share.probability for share in read.probabilities}
    shares = {label: given.get(label, 0.0) for label in choices}
    total = sum(shares.values())
    if not total:
        raise EngineError(f"{url}: the answer gives no target a probability")
    return {label: share / total for label, share in shares.items()}
