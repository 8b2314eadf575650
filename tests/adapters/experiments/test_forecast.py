"""What a plan costs, by formula and by simulation, and the verb that tells it."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from adapters.cli.forecasts import simulate
from adapters.errors import InvalidExperiment
from adapters.experiments.book import ExperimentBook
from adapters.experiments.forecast import forecast, observed
from adapters.experiments.metrics import measure
from adapters.experiments.statistics.populations import Amount, Proportion
from adapters.registry import Registry
from adapters.store import Store
from tests.adapters.experiments.designs import design
from tests.adapters.experiments.test_analysis import log
from tests.adapters.test_store import records


def told(*arguments: str) -> Any:
    result = CliRunner().invoke(simulate, [*arguments, "--json"], catch_exceptions=False)
    return json.loads(result.stdout) if result.exit_code == 0 else result.output


def test_a_plan_keeps_what_it_promises() -> None:
    found = forecast(Proportion(0.3), 0.05, units_per_day=500, experiments=1000)
    # 15.7 p(1-p) / d² for each arm, the usual rule of thumb for 80 % and 5 %.
    assert found.fixed_units == pytest.approx(2 * 15.7 * 0.219 / 0.05**2, rel=0.02)
    assert 1.05 < found.horizon_units / found.fixed_units < 1.15
    assert found.power.low < 0.8 < found.power.high + 0.03
    assert found.false_positives.low < 0.05
    assert found.used_at_twice is not None and found.used_at_twice < found.used < 1
    assert found.horizon_days == found.horizon_units / 500


def test_a_small_arm_makes_it_longer() -> None:
    even, small = (
        forecast(Amount(100, 50), -5, share=share, experiments=200) for share in (0.5, 0.1)
    )
    assert small.horizon_units / even.horizon_units == pytest.approx(0.25 / 0.09, rel=0.01)


def test_a_difference_that_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidExperiment, match=r"0\.9 leads out of"):
        forecast(Proportion(0.3), 0.9)
    assert forecast(Proportion(0.3), 0.4, experiments=100).used_at_twice is None


def test_the_control_tells_rate_and_traffic(store: Store, registry: Registry) -> None:
    entry = ExperimentBook(store, registry).begin(design())
    with pytest.raises(InvalidExperiment, match="--rate"):
        observed(entry.experiment, measure(store, entry))
    store.take(records(*log(0.25, 0.5, units=5000)))
    population, per_day = observed(entry.experiment, measure(store, entry))
    assert isinstance(population, Proportion) and abs(population.rate - 0.25) < 0.05
    assert per_day == pytest.approx(86_400, rel=0.01)  # one a second


def test_the_verb() -> None:
    found = told("--rate", "0.3", "--effect", "0.1", "--experiments", "200")
    assert found["horizon_days"] is None and 0.6 < found["power"]["count"] / 200 < 0.95
    assert "--effect is missing" in told("--rate", "0.3")
    assert "give an experiment's NAME" in told("--effect", "1")
    assert "give an experiment's NAME" in told("--rate", "0.3", "--mean", "3", "--effect", "1")
