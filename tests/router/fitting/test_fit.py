import json
import random
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from router import Router
from router.errors import ArtefactError, FitError
from router.examples import Example
from router.fitting.artefact import publish, write
from router.fitting.design import Design
from router.fitting.embeddings import PieceEmbeddings
from router.fitting.fit import FittedRouter, fit
from router.fitting.lessons import FitArguments
from router.router import current_folder


def test_serving_gives_the_log_odds_of_the_fitted_model(
    examples: list[Example], embeddings: PieceEmbeddings
) -> None:
    """The folded tables are the matrix times the head, for every text of the vocabulary."""
    texts = [example.text for example in examples]
    design = Design.of(texts, embeddings)
    matrix = design.matrix(texts)
    model = LogisticRegression(C=10.0, max_iter=1_000)
    model.fit(matrix, [example.label for example in examples])
    classifier = design.folded(model.coef_.T, model.intercept_)
    served = [
        classifier.logits(design.vocabulary.features(text), design.vocabulary) for text in texts
    ]
    np.testing.assert_allclose(served, model.decision_function(matrix), atol=1e-4)


def test_an_unknown_word_counts_as_the_same_word_known(
    examples: list[Example], embeddings: PieceEmbeddings
) -> None:
    """Whole words of the embedding model are rows of the table; taking one out of the
    vocabulary must not change what it says."""
    design = Design.of([example.text for example in examples], embeddings)
    columns = design.matrix([examples[0].text]).shape[1]
    weights = np.random.default_rng(0).standard_normal((columns, 3))
    classifier = design.folded(weights, np.zeros(3))
    vocabulary = design.vocabulary
    known = classifier.logits(vocabulary.features("mortgage nephew"), vocabulary)
    del vocabulary.words["mortgage"]
    features = vocabulary.features("mortgage nephew")
    assert features.unseen == ["mortgage"]
    np.testing.assert_allclose(classifier.logits(features, vocabulary), known, rtol=1e-4)


def test_the_same_data_in_any_order_gives_the_same_router(
    examples: list[Example], embeddings: PieceEmbeddings, fitted: FittedRouter, tmp_path: Path
) -> None:
    shuffled = list(examples)
    random.Random(1).shuffle(shuffled)
    folders = [
        write(fitted, tmp_path / "a"),
        write(fit(shuffled, embeddings), tmp_path / "b"),
    ]
    for name in ("weights.safetensors", "vocabulary.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in folders]
    for manifest in manifests:
        del manifest["created"]
    assert manifests[0] == manifests[1]


def test_the_artefact_explains_itself(fitted: FittedRouter, router_folder: Path) -> None:
    manifest = json.loads((router_folder / "manifest.json").read_text())
    assert manifest["labels"] == ["espresso", "general", "library"]
    assert manifest["label_counts"] == {"espresso": 8, "general": 8, "library": 8}
    assert manifest["out_of_fold"]["accuracy"] > 0.6
    assert manifest["threshold"] >= 1 / 3
    assert set(manifest["libraries"]) == {"numpy", "scikit-learn"}
    assert manifest["version"].startswith("v0-")
    assert len(manifest["data_digest"]) == len(manifest["encoder_digest"]) == 64


def test_publishing_numbers_versions_and_points_to_the_last(
    fitted: FittedRouter, tmp_path: Path
) -> None:
    root = tmp_path / "router"
    assert current_folder(root) is None
    first, second = publish(fitted, root), publish(fitted, root)
    assert first.name.startswith("v1-") and second.name.startswith("v2-")
    assert current_folder(root) == second
    assert Router.load(second).version == second.name
    assert {entry.name for entry in root.iterdir()} == {first.name, second.name, "current.json"}


def test_writing_replaces_a_router_and_nothing_else(fitted: FittedRouter, tmp_path: Path) -> None:
    folder = write(fitted, tmp_path / "out")
    write(fitted, folder)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text.tex").write_text("x")
    with pytest.raises(ArtefactError, match="not a router"):
        write(fitted, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "text.tex").exists()


def test_documents_teach_words(examples: list[Example], embeddings: PieceEmbeddings) -> None:
    documents = {"espresso": ["The quux valve regulates brewing pressure."] * 3, "other": ["x"]}
    fitted = fit(examples, embeddings, documents=documents)
    assert fitted.document_counts == {"espresso": 3, "general": 0, "library": 0}
    assert "quux" in fitted.vocabulary.words


def test_two_labels_are_enough_and_a_threshold_can_be_given(
    examples: list[Example], embeddings: PieceEmbeddings, tmp_path: Path
) -> None:
    two = [example for example in examples if example.label != "library"]
    fitted = fit(two, embeddings, arguments=FitArguments(threshold=0.8))
    router = Router.load(write(fitted, tmp_path / "two"))
    assert router.threshold == 0.8
    assert router.decide("descale my espresso machine").probabilities["espresso"] > 0.5
    assert router.decide("a joke about python").probabilities["general"] > 0.5


@pytest.mark.parametrize(
    ("examples_", "message"),
    [
        ([], "at least two labels"),
        ([Example("a", "x"), Example("b", "x")], "at least two labels"),
        ([Example(t, "x") for t in "abcdef"] + [Example("z", "y")], "'y' has 1 distinct"),
        ([Example(t, "x") for t in "abcdef"] + [Example("z", "y")] * 9, "'y' has 1 distinct"),
    ],
)
def test_too_little_data_is_named(
    embeddings: PieceEmbeddings, examples_: list[Example], message: str
) -> None:
    with pytest.raises(FitError, match=message):
        fit(examples_, embeddings)


def test_a_missing_embedding_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(FitError, match="python -m retrieval.distill"):
        PieceEmbeddings.load(tmp_path)
