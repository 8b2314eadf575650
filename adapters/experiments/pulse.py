"""Whether the data an experiment waits for still come.

Feedback may be a day late, so the newest answers never have all of theirs: what tells is whether
the count of judged units grows from look to look, not how old the last judged answer is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.experiments.entry import Entry
from adapters.experiments.observations import Measurement

MISSING = "missing_data"
_EXPECTED = 20.0  # judged units: by a Poisson count, none has a chance of 2e-9
_NEVER = 1000  # units of an arm without a single judgement


@dataclass(frozen=True, slots=True)
class Pulse:
    """Units that had come to an arm, and those that had the primary metric, when the latter last
    grew."""

    came: int
    told: int


Pulses = Mapping[str, Pulse]


def feel(entry: Entry, measured: Measurement, before: Pulses) -> tuple[dict[str, Pulse], str]:
    """The pulse of every arm with traffic, and what is missing in words (empty: nothing)."""
    metric = entry.experiment.metric.name
    pulses, missing = {}, []
    for arm in entry.experiment.live:
        came = measured.populations[arm.name].units
        told = measured.samples[metric][arm.name].units
        earlier = before.get(arm.name, Pulse(0, 0))
        now = Pulse(came, told) if told != earlier.told else earlier
        pulses[arm.name] = now
        silent = came - now.came
        expected = silent * now.told / now.came if now.came else 0.0
        if expected >= _EXPECTED:
            missing.append(
                f"no {metric} of {arm.name} for {silent} units, {expected:.0f} were to be expected"
            )
        elif not told and came >= _NEVER:
            missing.append(f"no {metric} of {arm.name} at all, after {came} units")
    return pulses, "; ".join(missing)


def read_pulses(stored: Any) -> dict[str, Pulse]:
    """As a look left them; none where it left nothing usable."""
    return {name: Pulse(**pulse) for name, pulse in (stored or {}).items()}
