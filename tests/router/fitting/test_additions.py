"""A label added to a fitted router: what it answers, and that all else stays as it was."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from router import Router
from router.classifier import SHARES
from router.errors import ArtefactError, FitError
from router.examples import Example
from router.fitting.additions import add_label, phrases
from router.fitting.artefact import write
from router.fitting.embeddings import PieceEmbeddings
from router.fitting.fit import fit
from router.reference import Signal, Window
from router.router import WEIGHTS
from router.second.encoder import SentenceEncoder, packaged_model
from router.second.evidence import Evidence
from router.second.stage import EVIDENCE, Cascade
from tests.router.conftest import EXAMPLES
from tests.router.test_cli import Workspace, turnout_router, workspace

__all__ = ["workspace"]

GARDEN = [
    "my tomato plants have yellow leaves",
    "when should I prune the rose bush",
    "how deep do I plant tulip bulbs",
    "slugs are eating my lettuce",
    "which compost is good for the vegetable bed",
    "the lawn has moss in the shade",
    "how often do I water seedlings",
    "aphids on my zuccini",
    "can I sow carrots in march",
    "the hedge needs cutting back",
]
ASKED = "why do the leaves of my tomato seedlings turn yellow"


@pytest.fixture(scope="module")
def wider(
    router_folder: Path, embeddings: PieceEmbeddings, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    root = tmp_path_factory.mktemp("wider")
    return add_label(router_folder, "garden", GARDEN, embeddings, out=root / "wider")


def test_ten_examples_make_a_label(router: Router, wider: Path) -> None:
    after = Router.load(wider)
    assert after.labels == ("espresso", "general", "library", "garden")
    assert after.decide(ASKED).target == "garden" != router.decide(ASKED).target
    assert all(after.decide(text).target == "garden" for text in GARDEN)
    lost = [e.text for e in EXAMPLES if after.decide(e.text).target != e.label]
    assert len(lost) <= 1  # the one that the new label's bias was taken from


def test_the_known_labels_keep_their_weights(router_folder: Path, wider: Path) -> None:
    before, after = load_file(router_folder / WEIGHTS), load_file(wider / WEIGHTS)
    known = len(before["words"])
    kept = [SHARES + 4 * block + column for block in range(3) for column in range(3)]
    columns = [*range(SHARES), *kept]
    assert np.array_equal(after["words"][:known, columns], before["words"])
    assert np.array_equal(after["pairs"][:, :4], before["pairs"])
    assert np.array_equal(after["fragments"][:, :3], before["fragments"])
    assert np.array_equal(after["bias"][:3], before["bias"])


def test_odds_between_known_labels_stay(router: Router, wider: Path) -> None:
    """Also of texts with words that became known with the new label."""
    after = Router.load(wider)
    for text in (ASKED, "renew a book about zuccini and aphids", EXAMPLES[0].text):
        old, new = router.decide(text).probabilities, after.decide(text).probabilities
        for label in ("espresso", "library"):
            odds = np.log(old[label] / old["general"]), np.log(new[label] / new["general"])
            assert odds[0] == pytest.approx(odds[1], abs=1e-4)


def test_drift_is_watched_with_the_new_label(router: Router, wider: Path) -> None:
    after = Router.load(wider)
    assert router.reference is not None and after.reference is not None
    window = Window(after.reference)
    for text in (ASKED, EXAMPLES[0].text):
        impression = after.decide(text).impression
        assert impression is not None
        window.add(impression)
    assert window.counts[Signal.LABEL] == [1, 0, 0, 1]
    seen = router.reference.signals[Signal.LABEL].counts
    assert after.reference.signals[Signal.LABEL].counts == (*seen, 0)


def test_a_description_alone(
    router_folder: Path, embeddings: PieceEmbeddings, tmp_path: Path
) -> None:
    texts = phrases("Gardening: plants, flowers and vegetables; pruning, pests.")
    assert texts[1:4] == ["Gardening", "plants", "flowers"]
    made = add_label(router_folder, "garden", texts, embeddings, out=tmp_path / "made")
    assert (
        Router.load(made).decide("which vegetables are easy, and which flowers").target == "garden"
    )


def test_the_second_stage_learns_it_too(embeddings: PieceEmbeddings, tmp_path: Path) -> None:
    model = packaged_model()
    assert model is not None
    many = [
        Example(f"{example.text} {number}", example.label)
        for example in EXAMPLES
        for number in range(5)
    ]
    fitted = fit(many, embeddings, encoder=SentenceEncoder.of_model(model))
    before = write(fitted, tmp_path / "before")
    after = add_label(before, "garden", GARDEN, embeddings, out=tmp_path / "after")
    old, new = Evidence.load(before / EVIDENCE), Evidence.load(after / EVIDENCE)
    assert np.array_equal(new.head[:, :3], old.head)
    assert np.array_equal(new.examples[: len(old.examples)], old.examples)
    cascade = Cascade.load(after)
    assert cascade.second is not None
    decision = cascade.second.decide(ASKED, cascade.first.decide(ASKED))
    assert (decision.target, decision.stage) == ("garden", 2)


@pytest.mark.parametrize(
    ("label", "texts", "message"),
    [
        ("library", GARDEN, "has 'library' already"),
        ("garden", ["  ", "moss", "moss"], "1 distinct texts, 3 are needed"),
        ("a\nb", GARDEN, "printable characters"),
        ("", GARDEN, "printable characters"),
    ],
)
def test_what_cannot_be_added(
    router_folder: Path,
    embeddings: PieceEmbeddings,
    tmp_path: Path,
    label: str,
    texts: list[str],
    message: str,
) -> None:
    with pytest.raises(FitError, match=message):
        add_label(router_folder, label, texts, embeddings, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_embeddings_are_refused(
    router_folder: Path, embeddings: PieceEmbeddings, tmp_path: Path
) -> None:
    other = PieceEmbeddings(embeddings.pieces, embeddings.vectors, "other")
    with pytest.raises(ArtefactError, match="fitted with other embeddings"):
        add_label(router_folder, "garden", GARDEN, other, out=tmp_path / "out")


def test_the_verb_adds_and_serves(workspace: Workspace, tmp_path: Path) -> None:
    assert turnout_router(workspace, "fit").exit_code == 0
    data = tmp_path / "ten.jsonl"
    data.write_text("\n".join(json.dumps({"text": text}) for text in GARDEN))
    row = json.loads(turnout_router(workspace, "add", "garden", "--data", data, "--json").stdout)
    assert row["labels"] == ["espresso", "general", "library", "garden"]
    serving = json.loads((workspace.artifacts / "router" / "current.json").read_text())
    assert serving["version"] == row["version"] == Path(row["folder"]).name
    said = turnout_router(workspace, "add", "cars", "--description", "Cars: engines, brakes.")
    assert "cars is added to espresso, general, library, garden" in said.stdout
    for arguments, message in (
        (("add", "boats"), "no pack has queries of 'boats'"),
        (("add", "boats", "--data", tmp_path / "absent"), "cannot be read"),
        (("add", "cars", "--description", "Cars, cars and cars"), "has 'cars' already"),
    ):
        result = turnout_router(workspace, *arguments)
        assert result.exit_code == 2 and message in result.stderr
