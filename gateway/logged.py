"""The stored interactions as routing sees them. Only here is it known that what routing calls
`general` has several tiers, and what they cost."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from adapters.experiments.columns import number
from adapters.experiments.measures import Kind
from adapters.interactions import (
    Feedback,
    Interaction,
    JudgedInteraction,
    Outcome,
    unit_digest,
)
from adapters.packs import Pack
from adapters.store import Store
from gateway.settings import Settings
from router.conversation import user_turns
from router.decision import GENERAL
from router.logged import Logged

Costs = Callable[[Interaction], float | None]


def read_logged(
    settings: Settings, since: float | None = None, until: float | None = None
) -> Iterator[Logged]:
    """Every answer from `since` until before `until` (unix seconds), the oldest first; without
    those of shadow arms, which nobody saw."""
    tiers = frozenset(target.name for target in settings.targets)
    costs = _costs(settings)
    for judged in Store(settings.store_url).judged(since=since or 0.0, until=until):
        if judged.interaction.shadow_of is None:
            yield _logged(judged, tiers, costs)


def _logged(judged: JudgedInteraction, tiers: frozenset[str], costs: Costs) -> Logged:
    one = judged.interaction
    decided, _, fallback = one.reason.partition("; ")
    return Logged(
        turns=_turns(one.request),
        target=GENERAL if one.target in tiers else one.target,
        propensity=one.propensity,
        probability=one.probability,
        reason=decided.partition(": ")[0],
        router_version=one.router_version,
        created=one.created,
        unit=_unit(one),
        session=one.session,
        ok=one.outcome is Outcome.OK and not fallback,
        rewards=_rewards(judged.feedback),
        demonstrated=any(feedback.demonstration for feedback in judged.feedback),
        cost=costs(one),
        total_ms=one.total_ms,
        train=one.train,
    )


def _turns(request: dict[str, Any]) -> tuple[str, ...]:
    """As planning reads them."""
    if messages := request.get("messages"):
        return tuple(user_turns(messages))
    prompt = request.get("prompt")
    first = prompt[0] if isinstance(prompt, list) and prompt else prompt
    return (first,) if isinstance(first, str) else ()


def _unit(one: Interaction) -> str:
    """The user, whose sessions are then no units of their own; else what was recorded."""
    named = one.request.get("safety_identifier") or one.request.get("user")
    return unit_digest(named) if isinstance(named, str) else one.unit


def _rewards(said: tuple[Feedback, ...]) -> dict[str, float]:
    """`said` is in the order of time, so the newest of a metric stays."""
    values = {feedback.metric: number(feedback.value, Kind.MEAN) for feedback in said}
    return {metric: value for metric, value in values.items() if math.isfinite(value)}


def _costs(settings: Settings) -> Costs:
    """By the tier that was decided; a domain costs what the first tier on its engine costs."""
    prices = {target.name: target.price for target in settings.targets}
    of_engine = {target.engine: target.price for target in reversed(settings.targets)}
    engines = {Pack.load(entry.path).name: entry.engine for entry in settings.packs}

    def cost(one: Interaction) -> float | None:
        price = prices.get(one.target) or of_engine.get(engines.get(one.target, ""))
        if price is None:
            return None
        return (price.input * one.prompt_tokens + price.output * one.completion_tokens) / 1e6

    return cost
