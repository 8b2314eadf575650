"""`turnout experiments simulate`: what an experiment will take, before anyone risks traffic."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import Progress

from adapters.cli import Workspace, as_json, show_json, show_table
from adapters.cli.books import checks_for, open_book
from adapters.store import Store

if TYPE_CHECKING:
    from adapters.experiments.forecast import Forecast
    from adapters.experiments.statistics.populations import Population


@click.command()
@click.argument("name", required=False)
@click.option("--rate", type=float, help="Of a yes-or-no metric, such as thumbs up: 0 to 1.")
@click.option("--mean", type=float, help="Of a metric in numbers; with --deviation.")
@click.option("--deviation", type=float, help="Standard deviation over units; with --mean.")
@click.option("--effect", type=float, help="Least difference to be found; default: the design's.")
@click.option(
    "--share",
    type=click.FloatRange(0, 100, min_open=True, max_open=True),
    default=50.0,
    show_default=True,
    help="Percent of the units on the arm under test.",
)
@click.option("--units-per-day", type=float, help="Traffic, for the duration in days.")
@click.option(
    "--experiments",
    "runs",
    type=click.IntRange(100, 100_000),
    default=2000,
    show_default=True,
    help="Simulated experiments for each figure.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@as_json
@click.pass_obj
def simulate(
    workspace: Workspace,
    name: str | None,
    rate: float | None,
    mean: float | None,
    deviation: float | None,
    effect: float | None,
    share: float,
    units_per_day: float | None,
    runs: int,
    seed: int,
    as_json: bool,
) -> None:
    """Power, duration and false positives of an experiment: of NAME, with the rate or variance that
    was observed, or with --rate, or --mean and --deviation."""
    # They bring numpy and scipy: a second that the other verbs need not wait.
    from adapters.experiments.forecast import forecast

    if name is not None:
        population, traffic, usual = _observed(workspace, name)
    else:
        population, traffic, usual = _given(rate, mean, deviation), None, None
    wanted = effect or usual
    if not wanted:
        raise click.UsageError("--effect is missing: the least difference that is to be found")
    with Progress(console=Console(stderr=True), disable=as_json, transient=True) as bar:
        task = bar.add_task("simulating")
        told = forecast(
            population,
            wanted,
            share=share / 100,
            units_per_day=units_per_day or traffic,
            experiments=runs,
            seed=seed,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if as_json:
        show_json(asdict(told))
    else:
        _show(told)


def _observed(workspace: Workspace, name: str) -> tuple["Population", float, float | None]:
    from adapters.experiments.forecast import observed
    from adapters.experiments.metrics import measure

    entry = open_book(workspace).entry(name)
    design = entry.experiment
    checks = checks_for(workspace, design)
    measured = measure(Store(workspace.store_url), entry, checks=checks)
    population, traffic = observed(design, measured)
    metric = design.metric
    return population, traffic, metric.effect or metric.margin


def _given(rate: float | None, mean: float | None, deviation: float | None) -> "Population":
    from adapters.experiments.statistics.populations import Amount, Proportion

    if rate is not None and mean is None and deviation is None:
        return Proportion(rate)
    if rate is None and mean is not None and deviation is not None:
        return Amount(mean, deviation)
    raise click.UsageError("give an experiment's NAME, or --rate, or --mean and --deviation")


def _show(told: "Forecast") -> None:
    days = "" if told.horizon_days is None else f", {told.horizon_days:.1f} days"
    rows = [
        ("difference to be found", f"{told.effect:g}"),
        ("share of the arm under test", f"{told.share:.3g}"),
        ("units, a test with one look", told.fixed_units),
        ("units, at most, looking all the time", f"{told.horizon_units}{days}"),
        ("mean part of these that is used", f"{told.used:.2f}"),
    ]
    if told.used_at_twice is not None:
        rows.append(("the same at twice the difference", f"{told.used_at_twice:.2f}"))
    for label, share in (("power", told.power), ("false positives", told.false_positives)):
        rows.append((label, f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"))
    show_table(("of the design", ""), rows)
