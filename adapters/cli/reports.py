"""`turnout experiments show`: how far an experiment is, and what its data say."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from adapters.cli import Workspace, as_json, show_json, show_table
from adapters.cli.books import checks_for, open_book, shown
from adapters.cli.pictures import plot_option, save_picture
from adapters.experiments.entry import Entry
from adapters.store import Store

if TYPE_CHECKING:
    from adapters.experiments.report import Reading, Report
    from adapters.experiments.shadows import ShadowReading

_COLUMNS = ("metric", "", "control", "arm", "difference", "interval", "units")


@click.command()
@click.argument("name")
@click.option("--quick", is_flag=True, help="Without the analysis, which reads the whole log.")
@plot_option
@as_json
@click.pass_obj
def show(workspace: Workspace, name: str, quick: bool, plot: Path | None, as_json: bool) -> None:
    """One experiment: its design, how far it is, how many answers each arm was asked for, every
    move, and what the data say by now. Look as often as you like: the error rate holds."""
    book, store = open_book(workspace), Store(workspace.store_url)
    entry, counts, moves = book.entry(name), store.answers_by_arm(name), book.moves(name)
    report, shadows = (None, ()) if quick else _read(workspace, store, entry, moves)
    if plot is not None:
        if report is None:
            raise click.UsageError("--quick leaves out the analysis that --plot draws")
        save_picture(plot, report, entry.experiment, moves)
    if as_json:
        said = {"answers": counts, "moves": moves, "report": report and asdict(report)}
        show_json({**entry.to_json(), **said, "shadows": [asdict(one) for one in shadows]})
        return
    shares = entry.shares
    rows = [
        (a.name, shown(a), f"{shares[a.name]:.3g} %", counts.get(a.name, 0))
        for a in entry.experiment.live
    ]
    show_table(("arm", "what", "share", "answers"), rows)
    told = [(m["at"], m["kind"], m["after"]["percent"], m["actor"], m["reason"]) for m in moves]
    show_table(("at", "move", "percent", "by", "reason"), told)
    if report is not None:
        _show_report(report)
    for reading in shadows:
        click.echo(reading.words)


def _read(
    workspace: Workspace, store: Store, entry: Entry, moves: Sequence[Mapping[str, Any]]
) -> tuple["Report", tuple["ShadowReading", ...]]:
    """What the data say of the arms that get traffic, and of those that do not."""
    # They bring numpy and scipy: a second that the other verbs need not wait.
    from adapters.experiments.analysis import analyse
    from adapters.experiments.metrics import measure
    from adapters.experiments.shadows import compare

    checks = checks_for(workspace, entry.experiment)
    report = analyse(entry, measure(store, entry, checks=checks), moves)
    return report, compare(store, entry, checks=checks)


def _show_report(report: "Report") -> None:
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
