"""From the turns of all rounds to rows and ratios: medians, with the least and the most."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.gateway.measure import Figures
from benchmarks.gateway.tools import Quantiles

OURS = "turnout"
# The open loop's rate that a row's `added_ms` speaks of, where a gateway keeps up with it.
USUAL_RATE = 1_000

Name = tuple[str, str]  # gateway and mode


@dataclass
class Report:
    """Every turn by gateway and mode, one of each a round, beside what the mock alone gave."""

    turns: dict[Name, list[Figures]] = field(default_factory=dict)
    direct: list[Figures] = field(default_factory=list)
    errors: dict[Name, str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether Turnout answered everything and did all that it claims; peers may be absent."""
        return not any(name == OURS for name, _ in self.errors) and not any(
            turn.wrong for (name, _), turns in self.turns.items() if name == OURS for turn in turns
        )

    def as_json(self) -> dict[str, Any]:
        rows = [self._row(name) for name in self.turns]
        rows += [
            {"gateway": gateway, "mode": mode, "error": error}
            for (gateway, mode), error in self.errors.items()
        ]
        direct = {
            **_figure("rps", [turn.rps for turn in self.direct], 0),
            "latency_ms": _quantiles(_by_rate(self.direct)),
            "first_event_ms": _quantile_pair([turn.first_event for turn in self.direct]),
        }
        return {"rows": rows, "direct": direct, **self._ratios(), "about": self.about}

    def _row(self, name: Name) -> dict[str, Any]:
        gateway, mode = name
        turns, direct = self.turns[name], self.direct
        pairs = list(zip(turns, direct, strict=False))
        added = {
            rate: _less([turn.open[rate] for turn, _ in here], [own.open[rate] for _, own in here])
            for rate in sorted({rate for turn in turns for rate in turn.open})
            if (here := [(t, own) for t, own in pairs if rate in t.open and rate in own.open])
        }
        usual = max((rate for rate in added if rate <= USUAL_RATE), default=None)
        first = _less(
            [turn.first_event for turn, _ in pairs], [own.first_event for _, own in pairs]
        )
        spread: dict[str, list[float]] = {}
        row = {
            "gateway": gateway,
            "mode": mode,
            **_figure("rps", [turn.rps for turn in turns], 0, spread),
            **_figure("us_per_request", [turn.us_per_request for turn in turns], 1, spread),
            "added_ms": {**_quantile_pair(added[usual], spread, "added_ms"), "rate": usual}
            if usual
            else None,
            "open_added_ms": _quantiles(added),
            **_figure("ttft_added_ms", [quantiles.p50 for quantiles in first], 3, spread),
            **_figure("ttft_added_p99_ms", [quantiles.p99 for quantiles in first], 3, spread),
            **_figure("us_per_event", [turn.us_per_event for turn in turns], 1, spread),
            **_figure("events_per_s", [turn.events_per_s for turn in turns], 0, spread),
            **_figure("rss_mb", [turn.memory_mb for turn in turns], 1, spread),
            **_figure("start_s", [turn.start_seconds for turn in turns], 2, spread),
            **_figure("others_busy", [turn.others_busy for turn in turns], 3, spread),
            "answered": sum(turn.answered for turn in turns),
            "wrong": _summed(turn.wrong for turn in turns),
            "first_wrong": next((turn.first_wrong for turn in turns if turn.first_wrong), ""),
            "rounds": len(turns),
        }
        return {**row, "spread": spread}

    def _ratios(self) -> dict[str, Any]:
        """Our modes over everything else: requests per second and core under `ratios`, the costs
        under `cost_ratios` (there less is better)."""
        names = [
            (ours, theirs)
            for ours in self.turns
            for theirs in self.turns
            if ours[0] == OURS and theirs[0] != OURS
        ]
        costs: Mapping[str, Callable[[Figures], float]] = {
            "us_per_request": lambda turn: turn.us_per_request,
            "us_per_event": lambda turn: turn.us_per_event,
            "rss_mb": lambda turn: turn.memory_mb,
            "start_s": lambda turn: turn.start_seconds,
        }
        ratios, spread = self._compare(names, lambda turn: turn.rps)
        return {
            "ratios": ratios,
            "ratios_spread": spread,
            "cost_ratios": {cost: self._compare(names, of)[0] for cost, of in costs.items()},
        }

    def _compare(
        self, names: Sequence[tuple[Name, Name]], of: Callable[[Figures], float]
    ) -> tuple[dict[str, float], dict[str, list[float]]]:
        ratios, spread = {}, {}
        for ours, theirs in names:
            mine, other = [[of(turn) for turn in self.turns[name]] for name in (ours, theirs)]
            if not all(other):
                continue
            key = f"{ours[1].replace('+', '_')}_over_{theirs[0].replace('-', '_')}"
            rounds = [a / b for a, b in zip(mine, other, strict=False)]
            ratios[key] = round(median(mine) / median(other), 3)
            spread[key] = [round(min(rounds), 3), round(max(rounds), 3)]
        return ratios, spread


def _figure(
    name: str, values: Sequence[float], digits: int, spread: dict[str, list[float]] | None = None
) -> dict[str, float]:
    if spread is not None:
        spread[name] = [round(min(values), digits), round(max(values), digits)]
    return {name: round(median(values), digits)}


def _less(turns: Sequence[Quantiles], direct: Sequence[Quantiles]) -> list[Quantiles]:
    """What the gateway added, round by round."""
    return [
        Quantiles(turn.p50 - own.p50, turn.p99 - own.p99)
        for turn, own in zip(turns, direct, strict=True)
    ]


def _by_rate(turns: Sequence[Figures]) -> dict[int, list[Quantiles]]:
    rates = sorted({rate for turn in turns for rate in turn.open})
    return {rate: [turn.open[rate] for turn in turns if rate in turn.open] for rate in rates}


def _quantiles(by_rate: Mapping[int, Sequence[Quantiles]]) -> dict[str, dict[str, float]]:
    return {str(rate): _quantile_pair(found) for rate, found in by_rate.items()}


def _quantile_pair(
    found: Sequence[Quantiles], spread: dict[str, list[float]] | None = None, name: str = ""
) -> dict[str, float]:
    pair: dict[str, float] = {}
    for part, values in (("p50", [q.p50 for q in found]), ("p99", [q.p99 for q in found])):
        pair[part] = round(median(values), 3)
        if spread is not None:
            spread[f"{name}.{part}"] = [round(min(values), 3), round(max(values), 3)]
    return pair


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for count in counts:
        for name, number in count.items():
            total[name] = total.get(name, 0) + number
    return total
