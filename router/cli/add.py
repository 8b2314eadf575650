"""`turnout router add`."""

from pathlib import Path

import click

from router.cli.common import Workspace, as_json_option, print_json, serving_folder
from router.errors import ExampleError
from router.examples import read_texts
from router.fitting.additions import add_label, phrases
from router.fitting.embeddings import PieceEmbeddings
from router.router import Router
from router.versions import point


@click.command("add")
@click.argument("label")
@click.option("--data", type=click.Path(path_type=Path), help='{"text"} lines; ten are a start.')
@click.option("--description", help="What the label is about, in a sentence or a list of subjects.")
@click.option("--model", type=click.Path(path_type=Path), help="Instead of the serving router.")
@click.option("--out", type=click.Path(path_type=Path), help="Write here; do not serve it.")
@as_json_option
@click.pass_obj
def add_command(
    workspace: Workspace,
    label: str,
    data: Path | None,
    description: str | None,
    model: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Teach the router LABEL from a few queries or a description, and leave the others as they are.

    Without --data and --description, from the queries of the configured packs. With many queries
    a fit is better, and does not need this.
    """
    texts = [] if data is None else read_texts(data)
    texts += phrases(description) if description else []
    if data is None and not description:
        texts = [row["text"] for row in workspace.routing_examples() if row["label"] == label]
        if not texts:
            raise ExampleError(f"no pack has queries of {label!r}; give --data or --description")
    root, folder = workspace.artifacts / "router", serving_folder(workspace, model)
    embeddings = PieceEmbeddings.load(workspace.encoder)
    made = add_label(folder, label, texts, embeddings, root, out)
    if out is None:
        point(root, made.name)
    router = Router.load(made)
    if as_json:
        print_json({"folder": str(made), "version": router.version, "labels": router.labels})
    else:
        click.echo(f"{made}\n{label} is added to {', '.join(router.labels[:-1])}")
