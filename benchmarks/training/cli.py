"""`turnout bench training`: options in, tables out."""

from pathlib import Path
from typing import Any, Protocol

import click

from adapters.cli import as_json, show_json
from benchmarks import options
from benchmarks.training.plan import PHASES, Plan
from training.errors import TrainingError

DOMAINS = ("legal", "finance", "medical", "maintenance", "telecom")


class Workspace(Protocol):
    """What this verb needs of the command's workspace."""

    @property
    def state(self) -> Path: ...
    @property
    def base_model(self) -> Path: ...
    @property
    def encoder(self) -> Path: ...


@click.command()
@click.option(
    "--phases",
    default=",".join(PHASES),
    show_default=True,
    callback=options.names(*PHASES),
    help="Which of them.",
)
@options.data("a folder for each domain and one for general tasks")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keeps answers and models for the next run [default: bench-training in the state folder].",
)
@click.option(
    "--adapters",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="State folder whose adapters are asked; domains without one are left out "
    "[default: train them].",
)
@click.option(
    "--domains",
    default=",".join(DOMAINS),
    show_default=True,
    callback=options.names(*DOMAINS),
    help="Which of them.",
)
@click.option("--rows", type=click.IntRange(20), help="Of each task [default: all].")
@click.option("--epochs", type=click.IntRange(1, 100), help="[default: each domain's own]")
@click.option(
    "--rounds",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    help="Of the throughput phase.",
)
@click.option(
    "--speed-rows",
    type=click.IntRange(16, 100_000),
    default=128,
    show_default=True,
    help="Of each round; a multiple of 8.",
)
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option(
    "--quick", is_flag=True, help="A tiny model with random weights and few rows: does it run?"
)
@options.plot("the domains' scores")
@as_json
@click.pass_obj
def training(
    workspace: Workspace,
    /,
    phases: tuple[str, ...],
    data: Path,
    work: Path | None,
    domains: tuple[str, ...],
    quick: bool,
    plot: Path | None,
    as_json: bool,
    **amounts: Any,
) -> None:
    """What adapters are worth: against prompts and retrieval on five domains, against full
    fine-tuning, and how quickly they are trained beside plain TRL.

    An interrupted run goes on where it was. Exit code 1 if a claim does not hold: adapters gain 27
    points on the mean of the domains over the best prompt, lead in every domain and are within two
    points of a linear classifier on labels; LoRA on 1 % of the weights has 95 % of full
    fine-tuning's score and forgets no more than a point; training is 3 times as quick as TRL's.
    """
    if amounts["speed_rows"] % 8:
        raise click.BadParameter(
            "must be a multiple of 8, the size of a batch", param_hint="--speed-rows"
        )
    plan = Plan(
        base=workspace.base_model,
        encoder=workspace.encoder,
        data=data,
        work=(work or workspace.state / "bench-training").resolve(),
        names=domains,
        **amounts,
    )
    try:
        # The extra `train`, which takes seconds to import.
        from benchmarks.training.run import measure, quicker
    except ModuleNotFoundError as exc:
        raise click.ClickException(
            f"`turnout bench training` needs {exc.name}: pip install 'turnout[train]'"
        ) from exc
    try:
        found, tables = measure(quicker(plan) if quick else plan, phases, plot)
    except TrainingError as exc:
        raise click.ClickException(str(exc)) from exc
    if as_json:
        show_json(found)
    else:
        click.echo("\n\n".join(tables))
    raise SystemExit(0 if all(one["ok"] for one in found.values()) else 1)
