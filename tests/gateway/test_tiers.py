"""Queries for the general model are shared out between a cheap and a strong tier."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.configuration import ConfigurationError
from gateway.settings import Settings
from gateway.tiers import TierChoice
from router.decision import Decision, Reason
from router.fitting.embeddings import PieceEmbeddings
from router.tiers.artefact import publish
from router.tiers.data import read_pairs
from router.tiers.fit import fit
from tests.fakes.vllm import FakeVllm
from tests.gateway.harness import Running, running
from tests.router.tiers.lines import graded, write_lines
from tests.serving import serving, wait_for

SUM, VERSE = "Solve the equation 31x + 2 = 95 for x", "Write a short poem about autumn leaves"
ESPRESSO = "My espresso machine's steam wand drips after I close the valve"


@pytest.fixture
def two_tiers(
    tmp_path: Path, artifacts: Path, encoder_folder: Path, engine: FakeVllm
) -> Iterator[Running]:
    lines = write_lines(tmp_path / "lines.jsonl")
    _fit(lines, encoder_folder, tmp_path / "state" / "artifacts")
    tiers = {"weak": "general", "strong": "large", "threshold": 0.5}
    with (
        serving(FakeVllm(base="large").app) as url,
        running(
            tmp_path,
            artifacts,
            encoder_folder,
            engine,
            tiers={"large": url},
            router={"tiers": tiers},
        ) as ready,
    ):
        yield ready


def asked(gateway: Running, text: str, model: str = "auto") -> tuple[str, str, str]:
    """Who answered, and what the headers say of it."""
    response = gateway.chat(text, model)
    headers = response.headers
    return response.json()["model"], headers["x-turnout-route"], headers["x-turnout-reason"]


def test_what_needs_the_strong_tier_goes_there(two_tiers: Running) -> None:
    assert asked(two_tiers, SUM) == ("large", "large", "tier")
    model, target, reason = asked(two_tiers, VERSE)
    assert (model, target) == ("tiny", "general") and reason != "tier"
    assert asked(two_tiers, SUM, "general") == ("tiny", "general", "explicit_model")
    assert asked(two_tiers, ESPRESSO)[1] == "espresso"
    body = {"messages": [{"role": "user", "content": SUM}], "model": "auto"}
    plan = two_tiers.http.post("/v1/route", json=body).json()
    assert (plan["target"], plan["reason"], plan["model"]) == ("large", "tier", "large")
    assert {row["target"] for row in two_tiers.stored(4)} == {"large", "general", "espresso"}


def test_a_new_fit_is_taken_up(two_tiers: Running, tmp_path: Path, encoder_folder: Path) -> None:
    assert asked(two_tiers, SUM)[0] == "large"
    turned = [{**row, "weak_score": 1.0 - row["weak_score"]} for row in graded()]
    lines = write_lines(tmp_path / "turned.jsonl", turned)
    _fit(lines, encoder_folder, two_tiers.settings.artifact_root)
    wait_for(lambda: asked(two_tiers, VERSE)[0] == "large", "the new model to decide")
    assert asked(two_tiers, SUM)[0] == "tiny"


def _settings(state: Path, names: tuple[str, ...], **tiers: object) -> Settings:
    engine = {"name": "local", "urls": ["http://127.0.0.1:1"], "model": "tiny"}
    targets = [{"name": name, "engine": "local"} for name in names]
    router = {"tiers": {"strong_share": 0.5, **tiers}}
    return Settings(state=state, engines=[engine], targets=targets, router=router)


@pytest.mark.parametrize(
    ("weak", "strong", "message"),
    [
        ("general", "lage", "router.tiers.strong: there is no target 'lage'; did you mean 'large'"),
        ("large", "general", "'large' is not the first of"),
        ("general", "large", "no model is fitted; run `turnout router tiers fit"),
    ],
)
def test_what_does_not_hold_together_is_refused(
    tmp_path: Path, weak: str, strong: str, message: str
) -> None:
    settings = _settings(tmp_path, ("general", "large"), weak=weak, strong=strong)
    with pytest.raises(ConfigurationError, match=message):
        TierChoice.of(settings)


@pytest.mark.parametrize("tiers", [{"threshold": 0.1}, {"strong_share": None}, {"strong": "small"}])
def test_one_threshold_and_two_tiers(tmp_path: Path, tiers: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"give one of threshold and strong_share|are both"):
        _settings(tmp_path, ("small", "large"), **{"weak": "small", "strong": "large", **tiers})


def test_a_share_of_strong_calls(tmp_path: Path, encoder_folder: Path) -> None:
    _fit(write_lines(tmp_path / "lines.jsonl"), encoder_folder, tmp_path / "artifacts")
    settings = _settings(tmp_path, ("general", "large"), weak="general", strong="large")
    choice = TierChoice.of(settings)
    assert choice is not None
    said = Decision("general", 0.9)
    strong = sum(choice.applied(said, row["prompt"]).target == "large" for row in graded())
    assert strong == 20
    for other in (
        Decision("general", 0.0, reason=Reason.EMPTY_TEXT),
        Decision("general", 0.9, reason=Reason.EXPLORATION),
        Decision("espresso", 0.9),
    ):
        assert choice.applied(other, SUM) is other


def _fit(lines: Path, encoder: Path, root: Path) -> None:
    publish(fit(read_pairs(lines), PieceEmbeddings.load(encoder)), root / "tiers")
