"""A small real router, fitted once on sentences a reader can check by eye."""

from pathlib import Path

import pytest

from router import Router
from router.examples import Example
from router.fitting.artefact import write
from router.fitting.embeddings import PieceEmbeddings
from router.fitting.fit import FittedRouter, fit

TEXTS = {
    "espresso": [
        "my espresso machine leaks at the group head",
        "how do I descale the boiler of my coffee machine",
        "the steam wand is blocked with milk",
        "grinder makes the coffee too coarse",
        "pump is loud and the shot runs slow",
        "which burrs fit my grinder",
        "portafilter gasket replacement",
        "the machine shows a low water alarm",
    ],
    "library": [
        "can I renew a library book twice",
        "what does an overdue dvd cost a day",
        "how do I reserve a study room at the library",
        "I lost my library card",
        "when is the branch open on sunday",
        "how many books may I borrow",
        "place a hold on a novel",
        "my borrowed audiobook is damaged",
    ],
    "general": [
        "write a poem about the sea",
        "what is the capital of france",
        "how do I sort a list in python",
        "tell me a joke",
        "translate good morning to spanish",
        "who won the world cup in 1998",
        "what is seven times eight",
        "suggest a name for my dog",
    ],
}
EXAMPLES = [Example(text, label) for label, texts in TEXTS.items() for text in texts]


@pytest.fixture(scope="session")
def embeddings(encoder_folder: Path) -> PieceEmbeddings:
    return PieceEmbeddings.load(encoder_folder)


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    return EXAMPLES


@pytest.fixture(scope="session")
def fitted(embeddings: PieceEmbeddings) -> FittedRouter:
    return fit(EXAMPLES, embeddings)


@pytest.fixture(scope="session")
def router_folder(fitted: FittedRouter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(fitted, tmp_path_factory.mktemp("router") / "small")


@pytest.fixture(scope="session")
def router(router_folder: Path) -> Router:
    return Router.load(router_folder)
