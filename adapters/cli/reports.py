"""An experiment's report for people: the verdict in words, then the numbers."""

from typing import TYPE_CHECKING

import click

from adapters.cli import show_table

if TYPE_CHECKING:
    from adapters.experiments.report import Reading, Report

_COLUMNS = ("metric", "", "control", "arm", "difference", "interval", "units")


def show_report(report: "Report") -> None:
    """Print what is known of every arm under test."""
    for verdict in report.verdicts:
        click.echo(verdict.words)
        rows = [_row(verdict.primary, "primary")]
        rows += [_row(reading, "guardrail") for reading in verdict.guardrails]
        for name, values in verdict.slices.items():
            rows += [_row(reading, f"{name}={value}") for value, reading in values.items()]
        show_table(_COLUMNS, rows)


def _row(reading: "Reading", what: str) -> tuple[object, ...]:
    interval = "too few units"
    if reading.low is not None and reading.high is not None:
        interval = f"[{reading.low:+.4g}, {reading.high:+.4g}]"
    control, arm = (f"{value:.4g}" for value in (reading.control, reading.treatment))
    units = "{} / {}".format(*reading.units)
    return reading.metric, what, control, arm, f"{reading.effect:+.4g}", interval, units
