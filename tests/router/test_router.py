import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router import Decision, Reason, Router
from router.errors import ArtefactError
from router.examples import Example
from router.quality.evaluate import evaluate


def test_a_query_goes_to_its_domain(router: Router) -> None:
    decision = router.decide("how do I descale my espresso machine?")
    assert (decision.target, decision.reason) == ("espresso", Reason.CLASSIFIER)
    assert decision.probability == max(decision.probabilities.values())
    assert sum(decision.probabilities.values()) == pytest.approx(1)
    assert decision.propensity == 1.0
    assert decision.router_version == router.version
    assert router.labels == ("espresso", "general", "library")


def test_words_never_seen_are_understood_by_their_meaning(router: Router) -> None:
    assert router.decide("latte crema from freshly roasted beans").target == "espresso"
    assert router.decide("librarians lending paperbacks").target == "library"


def test_a_domain_that_is_not_served_is_answered_by_general(router: Router) -> None:
    decision = router.decide("renew my library book", allowed={"espresso"})
    assert (decision.target, decision.reason) == ("general", Reason.NO_PACK)
    assert decision.probability == decision.probabilities["library"]
    assert router.decide("tell me a joke", allowed=()).reason is Reason.CLASSIFIER


def test_an_unsure_answer_goes_to_general(router: Router) -> None:
    strict = Router(router.vocabulary, router.classifier, labels=router.labels, threshold=0.999)
    decision = strict.decide("book")
    assert (decision.target, decision.reason) == ("general", Reason.BELOW_THRESHOLD)


@pytest.mark.parametrize("text", ["", "   ", "?!…", "🤒🤒", "___"])
def test_text_without_words_goes_to_general(router: Router, text: str) -> None:
    expected = Decision("general", 0.0, {}, Reason.EMPTY_TEXT, router.version)
    assert router.decide(text) == expected


def test_a_megabyte_is_judged_by_its_ends(router: Router) -> None:
    filler = "lorem ipsum " * 90_000
    text = f"My espresso machine leaks at the group head. {filler} How do I descale the boiler?"
    assert router.decide(text).target == "espresso"


@settings(deadline=None)
@given(text=st.text(max_size=200) | st.text(st.characters(categories=["Cs", "Lo", "Mn", "Cc"])))
def test_any_text_gets_a_decision(router: Router, text: str) -> None:
    decision = router.decide(text)
    assert decision.target in router.labels
    assert 0 <= decision.probability <= 1


def test_evaluation_counts_what_decide_does(router: Router) -> None:
    examples = [
        Example("descale the boiler", "espresso"),
        Example("renew a book", "library"),
        Example("renew a book", "espresso", "trick"),
        Example("", "general", "empty"),
    ]
    row = evaluate(router, examples).as_json()
    assert (row["n"], row["accuracy"]) == (4, 0.75)
    assert row["confusion"] == {
        "espresso": {"espresso": 1, "library": 1},
        "general": {"general": 1},
        "library": {"library": 1},
    }
    assert row["per_label"]["espresso"] == {"precision": 1, "recall": 0.5, "f1": 2 / 3, "n": 2}
    assert row["per_label"]["library"] == {"precision": 0.5, "recall": 1, "f1": 2 / 3, "n": 1}
    assert row["slices"] == {
        "empty": {"n": 1, "accuracy": 1},
        "standard": {"n": 2, "accuracy": 1},
        "trick": {"n": 1, "accuracy": 0},
    }
    assert (row["coverage"], row["selective_accuracy"]) == (0.75, pytest.approx(2 / 3))
    assert set(row["latency_us"]) == {"p50", "p99"}
    assert {"macro_f1", "ece", "aurc"} < row.keys()
    json.dumps(row)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("manifest.json", None, "turnout router fit"),
        ("manifest.json", b"{", "not JSON"),
        ("manifest.json", b"[]", "lacks one of"),
        ("vocabulary.json", b"{}", "not a router's vocabulary"),
        ("vocabulary.json", None, "not a router's vocabulary"),
        (
            "vocabulary.json",
            b'{"words": [], "pairs": [], "fragments": [], "pieces": []}',
            "fit the router again",
        ),
        ("weights.safetensors", b"junk", "does not hold a router's weights"),
        ("weights.safetensors", None, "does not hold a router's weights"),
    ],
)
def test_a_broken_artefact_is_named(
    router_folder: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(router_folder, folder)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(ArtefactError, match=message):
        Router.load(folder)


def test_another_format_is_refused(router_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(router_folder, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(ArtefactError, match="format 99, this version reads 1"):
        Router.load(folder)


def test_serving_imports_no_scikit_learn() -> None:
    code = "import router, sys; sys.exit(any(m in sys.modules for m in ('sklearn', 'scipy')))"
    subprocess.run([sys.executable, "-c", code], check=True)
