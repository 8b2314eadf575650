"""`turnout router tiers`: fit and measure what sends prompts to the strong general model."""

from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table

from router.cli.common import Workspace, as_json_option, plot_option, print_json
from router.errors import ArtefactError
from router.fitting.embeddings import PieceEmbeddings
from router.router import current_folder
from router.tiers.artefact import publish, write
from router.tiers.curve import TierReport, report
from router.tiers.data import read_pairs
from router.tiers.fit import FittedTiers, fit
from router.tiers.model import TierModel
from router.tiers.picture import draw

SHOWN = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help='{"prompt", "weak_score", "strong_score", "weak_cost"?, "strong_cost"?} lines.',
)


@click.group("tiers")
def tiers_group() -> None:
    """Cheap against strong general models."""


@tiers_group.command("fit")
@data_option
@click.option("--out", type=click.Path(path_type=Path), help="Write here; do not serve it.")
@as_json_option
@click.pass_obj
def fit_command(workspace: Workspace, data: Path, out: Path | None, as_json: bool) -> None:
    """Learn from scored answers how much better the strong model would do on a prompt."""
    pairs = read_pairs(data)
    embeddings = PieceEmbeddings.load(workspace.encoder)
    with Progress(console=Console(stderr=True)) as progress:
        progress.add_task(f"Fitting on {len(pairs)} lines", total=None)
        fitted = fit(pairs, embeddings)
    folder = publish(fitted, workspace.artifacts / "tiers") if out is None else write(fitted, out)
    if as_json:
        print_json(_fit_json(fitted, folder))
    else:
        click.echo(f"{folder}\non lines left out one by one:")
        _print_report(fitted.left_out, Console())


@tiers_group.command("eval")
@data_option
@click.option("--model", type=click.Path(path_type=Path), help="Instead of the serving one.")
@plot_option("Also draw the curve to this .svg or .png.")
@as_json_option
@click.pass_obj
def eval_command(
    workspace: Workspace, data: Path, model: Path | None, plot: Path | None, as_json: bool
) -> None:
    """What calls to the strong model bring, as RouteLLM measures it (APGR, CPT)."""
    folder = model or current_folder(workspace.artifacts / "tiers")
    if folder is None:
        raise ArtefactError(
            "there is no tier model yet; make one with: turnout router tiers fit --data F"
        )
    tiers, pairs = TierModel.load(folder), read_pairs(data)
    prompts = track(pairs.prompts, "Deciding", console=Console(stderr=True))
    found = report(np.array([tiers.gain(prompt) for prompt in prompts]), pairs)
    if plot is not None:
        draw(found, plot)
    if as_json:
        print_json(found.as_json())
    else:
        _print_report(found, Console())


def _fit_json(fitted: FittedTiers, folder: Path) -> dict[str, object]:
    return {
        "folder": str(folder),
        "version": TierModel.load(folder).version,
        "n": fitted.left_out.n,
        "penalty": fitted.penalty,
        "left_out": fitted.quality,
    }


def _print_report(found: TierReport, console: Console) -> None:
    weak, strong = found.curve[0].score, found.curve[-1].score
    console.print(f"{found.n} lines: weak model {weak:.3f}, strong model {strong:.3f}")
    if found.apgr is None or found.cpt50 is None or found.cpt80 is None:
        console.print("the strong model is no better on the whole: APGR and CPT are not defined")
    else:
        console.print(
            f"APGR {found.apgr:.3f} (0.5 at random); 50 % of the gap with {found.cpt50:.1%} strong "
            f"calls, 80 % with {found.cpt80:.1%}"
        )
    table = Table("strong calls", "score", "PGR", "mean cost", "threshold")
    for trade in map(found.at, SHOWN):
        values = (trade.score, trade.recovered, trade.cost, trade.threshold)
        table.add_row(
            f"{trade.share:.0%}", *("" if value is None else f"{value:.4g}" for value in values)
        )
    console.print(table)
