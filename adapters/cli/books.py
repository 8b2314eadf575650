"""The experiments on record, as this package's verbs open them."""

from adapters.checks import AnyCheck
from adapters.cli import Workspace
from adapters.experiments.book import ExperimentBook
from adapters.experiments.design import Arm, Experiment
from adapters.experiments.entry import Entry
from adapters.packs import checks_of
from adapters.registry import Registry
from adapters.store import Store


def open_book(workspace: Workspace) -> ExperimentBook:
    """The book in the workspace's store."""
    store = Store(workspace.store_url)
    return ExperimentBook(store, Registry(store, workspace.versions), workspace.shelf)


def checks_for(workspace: Workspace, experiment: Experiment) -> tuple[AnyCheck, ...]:
    """The checks that an experiment measures by, from its domain's pack."""
    return checks_of(experiment.domain, workspace.packs) if experiment.checks else ()


def shares_of(entry: Entry) -> str:
    """What every arm gets, for people."""
    arms = {arm.name: shown(arm) for arm in entry.experiment.live}
    return ", ".join(f"{name}={arms[name]} {part:.3g} %" for name, part in entry.shares.items())


def shown(arm: Arm) -> str:
    """What an arm is, for people."""
    parts = (
        arm.model,
        arm.router and f"router {arm.router}",
        arm.index and f"index {arm.index}",
        arm.prompt is not None and "its prompt",
    )
    return " + ".join(part for part in parts if part)
