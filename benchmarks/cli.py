"""The verb `turnout bench`: each benchmark is a verb of its own."""

import click

from benchmarks.gateway.cli import gateway
from benchmarks.swap.cli import swap


@click.group()
def bench() -> None:
    """Benchmarks, with ratios measured in one run."""


bench.add_command(gateway)
bench.add_command(swap)
