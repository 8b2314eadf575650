"""Logged requests as rows for estimators: which of them count, what two routers would have done
with them, and what reward a model expects of each target."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold

from router.decision import Decision, Reason
from router.learning.estimators import LoggedRows
from router.logged import Logged

FOLDS = 5
# Decisions that no router made, so that another one would not have changed them.
NOT_ROUTED = frozenset(
    {
        Reason.EXPLICIT_DOMAIN,
        Reason.EXPLICIT_MODEL,
        Reason.RULE,
        Reason.NO_ROUTER,
        Reason.EMPTY_TEXT,
    }
)

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]


class TurnsDecider(Protocol):
    """A cascade, as conversations are decided by it."""

    def decide_turns(self, turns: Sequence[str]) -> Decision: ...


@dataclass(frozen=True, slots=True)
class Replay:
    """Rated requests with what two routers would have done; targets are numbers, places in
    `targets`."""

    rows: LoggedRows
    before: Numbers
    after: Numbers
    targets: tuple[str, ...]

    def where(self, chosen: npt.NDArray[np.bool_]) -> "Replay":
        return Replay(
            self.rows.where(chosen), self.before[chosen], self.after[chosen], self.targets
        )


def rated(log: Iterable[Logged], metric: str) -> list[Logged]:
    """Requests that a router decided and somebody rated."""
    return [
        one
        for one in log
        if one.reason not in NOT_ROUTED and one.ok and metric in one.rewards
        if 0 < one.propensity <= 1
    ]


def replay(
    log: Sequence[Logged],
    metric: str,
    before: TurnsDecider,
    after: TurnsDecider,
    on_progress: Progress = lambda done, total: None,
) -> Replay:
    """Decide each of these rated requests by both routers; `on_progress` gets those done and all.

    The model of rewards is fitted on what `after` thinks of each target, not on the text: a few
    numbers, so that thousands of rows are enough.
    """
    old, new = [], []
    for count, one in enumerate(log, 1):
        old.append(before.decide_turns(one.turns).target)
        new.append(after.decide_turns(one.turns))
        on_progress(count, len(log))
    done = [one.target for one in log]
    targets = tuple(sorted({*done, *old, *(decision.target for decision in new)}))
    number = {target: place for place, target in enumerate(targets)}
    units = {unit: place for place, unit in enumerate(sorted({one.unit for one in log}))}
    actions = np.array([number[target] for target in done], dtype=np.int64)
    rewards = np.array([one.rewards[metric] for one in log], dtype=np.float64)
    of_units = np.array([units[one.unit] for one in log], dtype=np.int64)
    rows = LoggedRows(
        actions=actions,
        propensities=np.array([one.propensity for one in log], dtype=np.float64),
        rewards=rewards,
        predicted=_predicted(_signs(new, targets), actions, rewards, of_units),
        units=of_units,
    )
    return Replay(
        rows,
        np.array([number[target] for target in old], dtype=np.int64),
        np.array([number[decision.target] for decision in new], dtype=np.int64),
        targets,
    )


def _signs(decisions: Sequence[Decision], targets: Sequence[str]) -> Floats:
    """[rows, targets, signs] what the reward of a target may depend on: how probable it is, whether
    it is the choice, and which it is."""
    signs = np.zeros((len(decisions), len(targets), 2 + len(targets)))
    for row, decision in enumerate(decisions):
        for place, target in enumerate(targets):
            signs[row, place, 0] = decision.probabilities.get(target, 0.0)
            signs[row, place, 1] = target == decision.target
    signs[:, :, 2:] = np.eye(len(targets))
    return signs


def _predicted(signs: Floats, actions: Numbers, rewards: Floats, units: Numbers) -> Floats:
    """[rows, targets]; each row by a model fitted without its unit, within the rewards seen."""
    predicted = np.full(signs.shape[:2], rewards.mean() if len(rewards) else 0.0)
    folds = min(FOLDS, len(set(units.tolist())))
    if folds < 2:
        return predicted
    done = signs[np.arange(len(actions)), actions]
    for inside, outside in GroupKFold(folds).split(done, groups=units):
        model = Ridge(alpha=1.0).fit(done[inside], rewards[inside])
        flat = model.predict(signs[outside].reshape(-1, signs.shape[2]))
        predicted[outside] = flat.reshape(len(outside), -1)
    return np.asarray(np.clip(predicted, rewards.min(), rewards.max()))
