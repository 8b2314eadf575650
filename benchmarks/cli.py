"""The verb `turnout bench`: each benchmark is a verb of its own."""

import click

from benchmarks.clients.cli import clients
from benchmarks.experiments.cli import experiments
from benchmarks.flat.cli import flat
from benchmarks.gateway.cli import gateway
from benchmarks.loop.cli import loop
from benchmarks.retrieval import retrieval
from benchmarks.rollout.cli import rollout
from benchmarks.router import router
from benchmarks.swap.cli import swap
from benchmarks.tiers import tiers
from benchmarks.training.cli import training


@click.group()
def bench() -> None:
    """Benchmarks, with ratios measured in one run."""


for verb in (
    clients,
    experiments,
    flat,
    gateway,
    loop,
    retrieval,
    rollout,
    router,
    swap,
    tiers,
    training,
):
    bench.add_command(verb)
