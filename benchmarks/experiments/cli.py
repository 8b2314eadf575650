"""`turnout bench experiments`: options in, shares out."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from adapters.cli import as_json, show_json
from benchmarks import options
from benchmarks.experiments.plot import svg
from benchmarks.experiments.run import Report, run


@click.command()
@click.option(
    "--experiments",
    type=click.IntRange(100, 1_000_000),
    default=10_000,
    show_default=True,
    help="Of each kind; five times as many splits without a mismatch.",
)
@click.option(
    "--looks",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Evenly spaced until the horizon.",
)
@click.option("--seed", type=int, default=5, show_default=True)
@options.plot("the shares decided over time")
@as_json
def experiments(experiments: int, looks: int, seed: int, plot: Path | None, as_json: bool) -> None:
    """Simulate experiments that are analysed after every batch: false positives, power, duration,
    mismatched splits.

    Exit code 1 if false positives exceed their nominal share, if the horizon needs more than 15 %
    more units than a test with a single look, or if a 48/52 split goes unnoticed.
    """
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("")
        report = run(
            experiments,
            looks,
            seed,
            lambda what, done, total: progress.update(
                task, description=what, completed=done, total=total
            ),
        )
    if plot is not None:
        plot.write_text(svg(report.rows), encoding="utf-8")
    if as_json:
        show_json(report.as_json())
    else:
        _show(report)
    raise SystemExit(0 if report.ok else 1)


def _show(report: Report) -> None:
    console, found = Console(), report.as_json()
    table = Table("metric", "A/A", "peeking", "units", "/ fixed", "power", "2x: units / fixed")
    for row in found["metrics"]:
        table.add_row(
            row["metric"] if row["ok"] else f"[bold]{row['metric']}",
            _share(row["false_positives"]),
            f"{row['false_positives_peeking']['value']:.1%}",
            f"{row['units_horizon']:,}",
            f"{row['units_ratio']:.3f}",
            _share(row["power"]),
            f"{row['twice_the_effect']['mean_units_ratio']:.3f}",
        )
    console.print(table)
    hard = Table("hard A/A", "false positives")
    for name, share in found["hard_aa"].items():
        hard.add_row(name, _share(share))
    console.print(hard)
    split = found["sample_ratio"]
    ratio = Table("sample ratio, alpha 0.1 %", "")
    caught, exactly = "true_48_52_caught_within_10000", "counts_of_exactly_48_52_caught_at_units"
    ratio.add_row("true 48/52 caught within 10,000 units", _share(split[caught]))
    ratio.add_row("counts of exactly 48/52: caught at units", f"{split[exactly]}")
    for name, units in split["true_48_52_units_until_caught"].items():
        ratio.add_row(f"true 48/52: units until caught, {name}", f"{units:,.0f}")
    for name, share in split["false_alarms"].items():
        ratio.add_row(f"false alarms, {name}", _share(share))
    console.print(ratio)


def _share(share: dict[str, Any]) -> str:
    return f"{share['value']:.2%} ({share['low']:.2%} to {share['high']:.2%})"
