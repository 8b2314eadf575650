"""An experiment's report for people: the verdict in words, then the numbers."""

from typing import TYPE_CHECKING

import click
from rich.markup import escape

from adapters.cli import show_table

if TYPE_CHECKING:
    from adapters.experiments.report import Reading, Report

_COLUMNS = ("metric", "", "control", "arm", "difference", "interval", "units")


def show_report(report: "Report") -> None:
    """Print whether the figures can be trusted, then what is known of every arm under test."""
    click.echo(_trust(report))
    for verdict in report.verdicts:
        click.echo(verdict.words)
        rows = [_row(verdict.primary, "primary")]
        rows += [_row(reading, "guardrail") for reading in verdict.guardrails]
        for name, values in verdict.slices.items():
            rows += [_row(reading, escape(f"{name}={value}")) for value, reading in values.items()]
        show_table(_COLUMNS, rows)
        for name, one in verdict.heterogeneity.items():
            click.echo(
                f"between values of {name}: Q = {one.statistic:.3g} on {one.freedom}, "
                f"I² = {one.share:.0%}, p = {one.p_value:.2g}"
            )


def _trust(report: "Report") -> str:
    split = "mismatch" if report.mismatched else "ok"
    use = "used (CUPED)" if report.adjusted else "too few to be used"
    past = (
        f"{report.covered:.0%} of units with a past, {use}" if report.covered else "no past known"
    )
    return (
        f"sample ratio {split} (p = {report.sample_ratio:.2g}); "
        f"{report.switched} units seen in several arms; {past}"
    )


def _row(reading: "Reading", what: str) -> tuple[object, ...]:
    difference, _, interval = reading.numbers.partition(" ")
    control, arm = (f"{value:.4g}" for value in (reading.control, reading.treatment))
    units = "{} / {}".format(*reading.units)
    return reading.metric, what, control, arm, difference, interval or "not known yet", units
