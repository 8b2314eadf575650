"""The text a conversation is judged by, and what its earlier turns say about the last one.

A forward filter over the user's turns (the hidden Markov model of Rabiner, Proc. IEEE 1989, eq.
19-20): the subject stays from turn to turn with probability STAY and else may be any. Keeps no
sessions: the turns come with every request.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from router.decision import NONE, Decision
from router.policy import best_target
from router.router import Router

SHORT_TURN_WORDS = 4
# Chosen on conversations made of training queries that the router had not seen.
STAY = 0.7
TURNS = 4
# A turn of fewer characters says less about the subject: "and in winter?" hardly anything.
FULL_CHARACTERS = 60
# Of an earlier turn: enough for its subject, so that a turn more costs no more than a query.
EARLIER_CHARACTERS = 200


class Context(Struct, frozen=True):
    """The last turn, and how probable each label was before it; `prior` is empty where nothing
    came before. `weight` in (0, 1] is what the turn counts against the prior."""

    text: str
    prior: Mapping[str, float] = NONE
    weight: float = 1.0

    def weighed(
        self,
        decision: Decision,
        thresholds: Mapping[str, float],
        sure: float = 0.0,
        allowed: Collection[str] | None = None,
    ) -> Decision:
        """What `decision`, about `text` alone, becomes in its context; below the probability
        `sure` it is marked as unsure."""
        if not self.prior:
            return decision
        shares = _posterior(self.prior, decision.probabilities, self.weight)
        best, target, reason = best_target(shares, thresholds, allowed)
        probability = shares[best]
        return replace(
            decision,
            target=target,
            probability=probability,
            probabilities=shares,
            reason=reason,
            unsure=probability < sure,
        )


def decide(
    router: Router, turns: Sequence[str], allowed: Collection[str] | None = None
) -> Decision:
    """Where the last of the user's `turns`, oldest first, should go; one turn alone as
    `Router.decide` has it."""
    context = context_of(router, turns)
    decision = router.decide(context.text, allowed)
    return context.weighed(decision, router.thresholds, router.sure, allowed)


def context_of(router: Router, turns: Sequence[str]) -> Context:
    """Looks at no more than the last TURNS turns, and of the earlier ones at their beginnings."""
    if not turns:
        return Context("")
    *earlier, last = turns[-TURNS:]
    earlier = [turn[:EARLIER_CHARACTERS] for turn in earlier]
    posterior: Mapping[str, float] = NONE
    before = ""
    for turn in earlier:
        shares = router.decide(_judged(turn, before)).probabilities
        posterior = _posterior(_prior(posterior), shares, _weight(turn))
        before = turn
    return Context(_judged(last, before), _prior(posterior), _weight(last))


def user_turns(messages: Sequence[Mapping[str, object]]) -> list[str]:
    """Texts of the user's last TURNS turns that have any, oldest first.

    System prompts, answers, tools and their results do not count: they are long, the same in every
    request of an application, and would decide in the user's place.
    """
    return list(islice(_turns_backwards(messages), TURNS))[::-1]


def query_text(messages: Sequence[Mapping[str, object]]) -> str:
    """The text to search by."""
    return text_of(user_turns(messages))


def text_of(turns: Sequence[str]) -> str:
    """The last of the user's `turns`, a short one together with the turn before it."""
    before, last = ["", "", *turns][-2:]
    return _judged(last, before)


def _judged(turn: str, before: str) -> str:
    """A turn of at most SHORT_TURN_WORDS words is judged together with the one before it."""
    short = turn and before and len(turn.split(maxsplit=SHORT_TURN_WORDS)) <= SHORT_TURN_WORDS
    return f"{turn}\n{before}" if short else turn


def _weight(turn: str) -> float:
    return min(1.0, len(turn) / FULL_CHARACTERS)


def _prior(posterior: Mapping[str, float]) -> Mapping[str, float]:
    """One turn later."""
    moved = (1 - STAY) / max(len(posterior), 1)
    return {label: STAY * share + moved for label, share in posterior.items()}


def _posterior(
    prior: Mapping[str, float], shares: Mapping[str, float], weight: float
) -> Mapping[str, float]:
    """Labels' probabilities after a turn with these `shares`; a turn without any changes nothing,
    and an empty prior is one that favours no label."""
    if not shares:
        return prior
    products = {label: prior.get(label, 1.0) * share**weight for label, share in shares.items()}
    total = sum(products.values())
    return {label: product / total for label, product in products.items()}


def _turns_backwards(messages: Sequence[Mapping[str, object]]) -> Iterator[str]:
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
