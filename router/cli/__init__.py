"""The verb `turnout router`: fit the router, measure it, keep it honest."""

import click

from router.cli.common import RouterGroup
from router.cli.evaluate import eval_command
from router.cli.fit import fit_command


@click.group(cls=RouterGroup)
def router() -> None:
    """The classifier that sends each query to its target."""


for _command in (fit_command, eval_command):
    router.add_command(_command)
