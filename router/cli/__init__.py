"""The verb `turnout router`: fit the router, measure it, keep it honest."""

import click

from router.cli.add import add_command
from router.cli.calibrate import calibrate_command
from router.cli.common import RouterGroup
from router.cli.drift import drift_command
from router.cli.evaluate import eval_command
from router.cli.fit import fit_command
from router.cli.learn import learn_command, ope_command
from router.cli.tiers import tiers_group


@click.group(cls=RouterGroup)
def router() -> None:
    """The classifier that sends each query to its target."""


for _command in (
    fit_command,
    eval_command,
    calibrate_command,
    drift_command,
    add_command,
    learn_command,
    ope_command,
    tiers_group,
):
    router.add_command(_command)
