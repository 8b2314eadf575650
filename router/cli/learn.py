"""`turnout router ope` and `turnout router learn`: what the log says of another router, and a
router that has learned from it."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from router.cli.common import Workspace, as_json_option, print_json, serving_folder, since_option
from router.cli.fit import pack_examples, sentence_encoder
from router.examples import Example, read_examples
from router.fitting.artefact import publish, write
from router.fitting.embeddings import PieceEmbeddings
from router.fitting.fit import FittedRouter, fit
from router.learning.estimators import Estimate, Estimator
from router.learning.refit import LearnReport, learn
from router.learning.report import OffPolicyReport, off_policy_report
from router.learning.rewards import rated, replay
from router.logged import Logged
from router.router import Router
from router.second.stage import Cascade

_metric = click.option("--metric", default="thumb", show_default=True, help="Of the feedback.")
_file = click.Path(path_type=Path)


@click.command("ope")
@click.option("--model", type=_file, required=True, help="The router that might serve.")
@click.option("--against", type=_file, help="Instead of the serving router.")
@_metric
@since_option
@as_json_option
@click.pass_obj
def ope_command(
    workspace: Workspace,
    model: Path,
    against: Path | None,
    metric: str,
    since: float | None,
    as_json: bool,
) -> None:
    """Judge a router on logged requests and their feedback, without serving it.

    Needs requests that were explored: only they say what another target would have been worth.
    """
    before = Cascade.load(serving_folder(workspace, against))
    after = Cascade.load(model)
    with Progress(console=Console(stderr=True)) as progress:
        log = rated(_shown(progress, workspace, since), metric)
        task = progress.add_task(f"Deciding {len(log)} rated requests", total=len(log))
        found = replay(
            log,
            metric,
            before,
            after,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    report = off_policy_report(found)
    if as_json:
        print_json(report.as_json())
    else:
        _print_off_policy(report, Console())


@click.command("learn")
@click.option("--data", type=_file, help='{"text", "label"} lines, instead of the packs\'.')
@click.option("--eval", "evaluation", type=_file, help="Labelled lines to compare on.")
@_metric
@since_option
@click.option("--out", type=_file, help="Write here, not beside the serving router.")
@click.option("--min-gain", type=float, help="Reward per request that the log has to show.")
@as_json_option
@click.pass_context
def learn_command(
    ctx: click.Context,
    data: Path | None,
    evaluation: Path | None,
    metric: str,
    since: float | None,
    out: Path | None,
    min_gain: float | None,
    as_json: bool,
) -> None:
    """Refit with what the log teaches; written if it holds its own, and never made current.

    Without --eval a fifth of the examples is held back for the comparison, which takes two more
    fits. Exit code 1 if nothing was written.
    """
    workspace: Workspace = ctx.obj
    serving = Cascade.load(serving_folder(workspace))
    examples = pack_examples(workspace) if data is None else read_examples(data)
    documents = workspace.routing_documents() if data is None else {}
    embeddings, encoder = PieceEmbeddings.load(workspace.encoder), sentence_encoder()
    with Progress(console=Console(stderr=True)) as progress:

        def fitted_on(examples: Sequence[Example]) -> FittedRouter:
            task = progress.add_task(f"Fitting on {len(examples)} examples", total=None)
            return fit(
                examples,
                embeddings,
                documents=documents,
                encoder=encoder,
                on_progress=lambda done, total: progress.update(task, completed=done, total=total),
            )

        log = list(_shown(progress, workspace, since))
        deciding = progress.add_task("Deciding logged requests", total=None)
        report, fitted = learn(
            log,
            metric,
            examples,
            serving,
            fitted_on,
            evaluation=None if evaluation is None else read_examples(evaluation),
            min_gain=min_gain,
            on_progress=lambda done, total: progress.update(deciding, completed=done, total=total),
        )
    folder = None if fitted is None else _written(fitted, workspace, out)
    if as_json:
        print_json({**report.as_json(), "folder": folder and str(folder)})
    else:
        _print_learned(report, folder, Console())
        if folder is not None and out is None:
            click.echo(_how_to_try(serving.first.version, folder, metric))
    ctx.exit(1 if folder is None else 0)


def _shown(progress: Progress, workspace: Workspace, since: float | None) -> Iterable[Logged]:
    return progress.track(workspace.logged(since), total=None, description="Reading the log")


def _written(fitted: FittedRouter, workspace: Workspace, out: Path | None) -> Path:
    if out is not None:
        return write(fitted, out)
    return publish(fitted, workspace.artifacts / "router", current=False)


def _how_to_try(serving: str, folder: Path, metric: str) -> str:
    """A design that `turnout experiments create --file` reads."""
    version = Router.load(folder).version
    return (
        f"\nIt does not serve. To try it, write this to {version}.toml\n\n"
        f'name = "router-{version}"\ndomain = "auto"\nmetric = {{ name = {json.dumps(metric)} }}\n'
        f'[[arms]]\nname = "serving"\nrouter = "{serving}"\n'
        f'[[arms]]\nname = "learned"\nrouter = "{version}"\n\n'
        f"and start it: turnout experiments create --file {version}.toml"
    )


def _print_learned(report: LearnReport, folder: Path | None, console: Console) -> None:
    counts, labelled, praise = report.learned.counts, report.labelled, report.learned.praise
    console.print(
        f"{counts.learned} queries learned from {counts.told} requests that say something: "
        f"{counts.repeated} repeat another, {counts.unsure} remain unsure, {counts.known} were "
        f"known ({counts.contradicted} contradicted the examples), {counts.capped} came from "
        f"units that had said enough\n"
        f"praised: {praise.right:.0%} of right and {praise.wrong:.0%} of wrong targets\n"
        f"on {labelled.n} labelled queries: accuracy {labelled.before:.4f} before, "
        f"{labelled.after:.4f} after ({labelled.low:+.4f} to {labelled.high:+.4f})"
    )
    _print_off_policy(report.off_policy, console)
    console.print(f"{folder or 'nothing is written'}: {report.why}")


def _print_off_policy(report: OffPolicyReport, console: Console) -> None:
    console.print(
        f"{report.n} rated requests, of which {report.explored} could have gone elsewhere "
        f"({report.units} units); the routers differ on {report.differing}, the log has tried the "
        f"new choice on {report.matches}\n"
        f"overlap {report.overlap:.1%}, effective sample size {report.effective_size:.0f}"
    )
    if report.logged is not None:
        console.print(f"earned as logged: {_interval(report.logged)}")
        table = Table("estimator", "before", "after", "difference")
        for name in Estimator:
            parts = (report.before[name], report.after[name], report.difference[name])
            table.add_row(name, *map(_interval, parts))
        console.print(table)
    console.print(f"{report.verdict}: {report.why}")


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
