"""Experiments and their splits, made up in a line."""

from typing import Any

from adapters.experiments.assignment import Split
from adapters.experiments.design import Experiment
from adapters.experiments.reading import read_experiment

ARMS = [{"name": "control", "model": "base"}, {"name": "new", "model": "base"}]


def design(**changes: Any) -> Experiment:
    """An A/A test on `legal`; the salt is fixed, so that it splits the same every time."""
    return read_experiment({"name": "e", "domain": "legal", "arms": ARMS, "salt": "s", **changes})


def split(*weights: float, salt: str = "s") -> Split:
    """Arms arm0, arm1, … of these weights."""
    arms = [{"name": f"arm{n}", "model": "base", "weight": w} for n, w in enumerate(weights)]
    made = design(arms=arms, salt=salt)
    return Split(made, {arm.name: arm.weight for arm in made.arms})
