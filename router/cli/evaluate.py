"""`turnout router eval`."""

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from router.cli.common import (
    Workspace,
    as_json_option,
    plot_option,
    print_json,
    serving_folder,
)
from router.examples import read_examples
from router.quality.evaluate import RouterReport, evaluate
from router.quality.picture import draw_calibration
from router.second.stage import Cascade

BAR = 30


@click.command("eval")
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--model", type=click.Path(path_type=Path), help="Instead of the serving router.")
@plot_option("Also draw reliability, and risk against coverage, to this .svg or .png.")
@as_json_option
@click.pass_obj
def eval_command(
    workspace: Workspace, data: Path, model: Path | None, plot: Path | None, as_json: bool
) -> None:
    """Measure a router on labelled queries."""
    folder = serving_folder(workspace, model)
    report = evaluate(Cascade.load(folder), read_examples(data))
    if plot is not None:
        draw_calibration(report, plot)
    if as_json:
        print_json(report.as_json())
    else:
        _print_report(report, Console())


def _print_report(report: RouterReport, console: Console) -> None:
    console.print(
        f"{report.n} queries: accuracy {report.accuracy:.3f}, macro F1 {report.macro_f1:.3f}, "
        f"ECE {report.ece:.3f}, AURC {report.aurc:.4f}\n"
        f"not held back: {report.coverage:.1%} of the queries, "
        f"accuracy {report.selective_accuracy:.3f}\n"
        f"latency p50 {report.p50:.0f} µs, p99 {report.p99:.0f} µs, mean {report.mean:.0f} µs; "
        f"{report.second_share:.1%} went to the second stage"
    )
    labels = Table("label", "n", "precision", "recall", "F1", "goes to")
    for label, score in report.per_label.items():
        others = {t: n for t, n in report.confusion[label].items() if t != label}
        labels.add_row(
            label,
            str(score.n),
            *(f"{value:.3f}" for value in (score.precision, score.recall, score.f1)),
            ", ".join(f"{t} {n}" for t, n in sorted(others.items(), key=lambda item: -item[1])),
        )
    console.print(labels)
    slices = Table("slice", "n", "accuracy")
    for name, (count, accuracy) in report.slices.items():
        slices.add_row(name, str(count), f"{accuracy:.3f}")
    console.print(slices)
    bins = Table("confidence", "n", "said", "right", "")
    for each in report.bins:
        bins.add_row(
            f"{each.low:.2f}-{each.high:.2f}",
            str(each.n),
            f"{each.confidence:.3f}",
            f"{each.accuracy:.3f}",
            "█" * round(BAR * each.accuracy),
        )
    console.print(bins)
