"""An arm names what there is, or the experiment is refused with what there would be."""

from pathlib import Path
from typing import Any

import pytest

from adapters.errors import InvalidExperiment
from adapters.experiments.book import ExperimentBook
from adapters.experiments.shelf import Shelf
from adapters.registry import Registry
from adapters.store import Store
from tests.adapters.experiments.designs import ARMS, design
from tests.adapters.folders import facts, write_adapter

SHELF = Shelf(
    tiers=("small", "large"),
    routers=tuple(f"v{n}-0a1b2c3d" for n in range(1, 13)),
    indexes={"legal": ("v1-00000000", "v2-00000000"), "medical": ("v7-00000000",)},
)


def arms(**changes: Any) -> list[dict[str, Any]]:
    """A control and one arm under test that is something else."""
    return [ARMS[0], {**ARMS[1], **changes}]


def routers(**changes: Any) -> dict[str, Any]:
    control = {"name": "control", "router": "v1-0a1b2c3d"}
    return {"domain": "auto", "arms": [control, {"name": "new", **changes}]}


@pytest.fixture
def book(store: Store, registry: Registry) -> ExperimentBook:
    return ExperimentBook(store, registry, lambda: SHELF)


@pytest.mark.parametrize(
    "changes",
    [
        {"arms": arms(index="v2-00000000", prompt="Be brief.")},
        {"arms": arms(index="v2-00000000", shadow=0.5)},
        {"domain": "small", "arms": [{"name": name, "model": name} for name in SHELF.tiers]},
        routers(router="v12-0a1b2c3d"),
    ],
)
def test_what_there_is_may_be_an_arm(book: ExperimentBook, changes: dict[str, Any]) -> None:
    made = design(**changes)
    assert book.begin(made).experiment == made == book.entry("e").experiment


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"arms": arms(index="v7-00000000")},
            "arms.1.index: 'v7-00000000' is no index version of legal; there are v1-00000000, "
            "v2-00000000",
        ),
        (
            {"arms": arms(model="large")},
            "arms.1.model: 'large' is neither `base` nor a version of legal; there are none",
        ),
        (
            {"domain": "small", "arms": [{**ARMS[0], "model": "small"}, ARMS[1]]},
            "arms.1.model: 'base' is no general tier; there are small, large",
        ),
        (
            {"domain": "small", "arms": [{**arm, "model": "small", "index": "v1"} for arm in ARMS]},
            "arms.0.index: 'v1' is no index version of small; there are none; "
            "arms.1.index: 'v1' is no index version of small; there are none",
        ),
        (
            routers(router="v13-0a1b2c3d"),
            "arms.1.router: 'v13-0a1b2c3d' is no fitted router; there are 2 older ones, "
            + ", ".join(SHELF.routers[2:]),
        ),
        (
            routers(router="v1-0a1b2c3d", prompt="Be brief.", shadow=1, index="v1-00000000"),
            "arms.1.prompt: a router answers nothing; a prompt is for a domain's or a tier's arm; "
            "arms.1.shadow: a router answers nothing; compare it with `turnout router eval`; "
            "arms.1.index: 'v1-00000000' is no index version of auto; there are none",
        ),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(
    book: ExperimentBook, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidExperiment) as caught:
        book.begin(design(**changes))
    assert str(caught.value) == said
    assert book.entries() == []


def test_versions_are_listed_without_the_retired(
    book: ExperimentBook, registry: Registry, tmp_path: Path
) -> None:
    old, new = (
        registry.publish("legal", write_adapter(tmp_path / str(seed), seed=seed), facts()).version
        for seed in (1, 2)
    )
    registry.retire(old, actor="test")
    with pytest.raises(InvalidExperiment) as caught:
        book.begin(design(arms=[{**ARMS[0], "model": old}, {**ARMS[1], "model": "legal--v9"}]))
    assert str(caught.value) == (
        f"arms.0.model: {old} is retired; "
        f"arms.1.model: 'legal--v9' is neither `base` nor a version of legal; there are {new}"
    )


def test_the_shelf_is_looked_at_when_an_experiment_begins(store: Store, registry: Registry) -> None:
    shelves = [Shelf(), SHELF]
    book = ExperimentBook(store, registry, lambda: shelves.pop(0))
    made = design(arms=arms(index="v1-00000000"))
    with pytest.raises(InvalidExperiment, match="there are none"):
        book.begin(made)
    assert book.begin(made).experiment == made
