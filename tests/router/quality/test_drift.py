import numpy as np
import pytest
from scipy.stats import chi2

from router import Router
from router.decision import Impression
from router.errors import ArtefactError
from router.examples import Example
from router.quality.drift import Advice, DriftReport, Shift, Verdict, drift_of, noise_level
from router.reference import (
    Reference,
    Signal,
    Window,
    reference_of,
    stability_index,
    unknown_shares,
)

LABELS = ("general", "legal")


def impressions(n: int, seed: int, legal: float = 0.3) -> list[Impression]:
    random = np.random.default_rng(seed)
    return [
        Impression(
            LABELS[int(random.random() < legal)],
            float(random.beta(8, 2)),
            int(random.lognormal(4, 1)),
            float(random.random() < 0.2) / 5,
            bool(random.random() < 0.15),
        )
        for _ in range(n)
    ]


@pytest.fixture
def reference() -> Reference:
    return reference_of(impressions(2_000, seed=0), LABELS)


def test_the_index_by_hand() -> None:
    """Shares 1/4 and 3/4 against halves: 1/4 ln(1/2) times -1, and 1/4 ln(3/2)."""
    many = 10**9
    expected = -0.25 * np.log(0.5) + 0.25 * np.log(1.5)
    assert stability_index([many, 3 * many], [many, many]) == pytest.approx(expected)
    assert stability_index([5, 5], [5, 5]) == 0
    assert 0 < stability_index([0, 10], [5, 5]) < 10


def test_the_window_forgets_what_is_too_long_ago(reference: Reference) -> None:
    window, every = Window(reference, size=100), impressions(250, seed=1)
    for impression in every:
        window.add(impression)
    alone = Window(reference, size=100)
    for impression in every[-100:]:
        alone.add(impression)
    assert len(window) == 100
    assert window.counts == alone.counts
    assert {sum(counts) for counts in window.counts.values()} == {100}


def test_a_reference_counts_in_its_own_bins(reference: Reference) -> None:
    window = Window(reference, size=2_000)
    for impression in impressions(2_000, seed=0):
        window.add(impression)
    assert reference.n == 2_000
    for signal, bins in reference.signals.items():
        assert tuple(window.counts[signal]) == bins.counts
    assert set(reference.signals[Signal.CONFIDENCE].counts) == {200}


def test_what_others_do_not_say_is_unknown() -> None:
    """Forms count as two tokens that all texts share."""
    texts = ["a zebra", "a horse", "a b"]
    assert unknown_shares(texts, ["b"], {"horse"}) == [0.25, 0.0, 0.0]


def test_noise_is_chi_squared() -> None:
    assert noise_level(10, 500, 2_000) == pytest.approx(chi2.ppf(0.99, 9) * (1 / 500 + 1 / 2_000))
    assert noise_level(1, 500, 2_000) == 0


def test_noise_covers_windows_that_have_not_changed(reference: Reference) -> None:
    beyond = 0
    for seed in range(1, 101):
        window = Window(reference, size=200)
        for impression in impressions(200, seed):
            window.add(impression)
        for signal, bins in reference.signals.items():
            noise = noise_level(len(bins.counts), 200, 2_000)
            beyond += stability_index(window.counts[signal], bins.counts) > noise
    assert beyond <= 15  # of 500, 5 expected


def shift(index: float, noise: float = 0.02, now: tuple[int, ...] = (5, 5)) -> Shift:
    return Shift((5, 5), now, ("low", "high"), index, noise)


@pytest.mark.parametrize(
    ("index", "noise", "verdict"),
    [
        (0.09, 0.01, Verdict.STABLE),
        (0.2, 0.01, Verdict.WATCH),
        (0.3, 0.01, Verdict.DRIFTED),
        (0.4, 0.5, Verdict.STABLE),
    ],
)
def test_a_verdict_needs_the_limit_and_more_than_noise(
    index: float, noise: float, verdict: Verdict
) -> None:
    assert shift(index, noise).verdict is verdict


@pytest.mark.parametrize(
    ("moved", "confidence", "advice"),
    [
        ({}, (5, 5), Advice.NOTHING),
        ({Signal.LABEL: 0.2}, (5, 5), Advice.LOOK),
        ({Signal.LENGTH: 0.3}, (5, 5), Advice.LOOK),
        ({Signal.LABEL: 0.3}, (5, 5), Advice.CALIBRATE),
        ({Signal.CONFIDENCE: 0.3}, (3, 7), Advice.CALIBRATE),
        ({Signal.CONFIDENCE: 0.3}, (7, 3), Advice.REFIT),
        ({Signal.UNKNOWN_WORDS: 0.3}, (5, 5), Advice.REFIT),
    ],
)
def test_advice(moved: dict[Signal, float], confidence: tuple[int, ...], advice: Advice) -> None:
    shifts = {
        s: shift(moved.get(s, 0.0), now=confidence if s is Signal.CONFIDENCE else (5, 5))
        for s in Signal
    }
    assert DriftReport(10, 10, shifts, {}, ()).advice is advice


def test_queries_of_another_world_have_drifted(router: Router) -> None:
    texts = [f"quokka wombatarium zyx{n % 7}" for n in range(200)] + ["", "?"]
    report = drift_of(router, texts)
    assert (report.n, report.reference_n, report.drifted) == (200, 24, True)
    assert report.advice is Advice.REFIT
    assert report.shifts[Signal.UNKNOWN_WORDS].verdict is Verdict.DRIFTED
    assert list(report.words.items())[:2] == [("quokka", 200), ("wombatarium", 200)] or set(
        list(report.words)[:2]
    ) == {"quokka", "wombatarium"}
    assert len(report.queries) == 5


def test_the_same_queries_have_not(router: Router, examples: list[Example]) -> None:
    """Against a window of themselves; against the fit's they would be surer than new ones."""
    texts = [each.text for each in examples] * 10
    seen = [each for text in texts if (each := router.decide(text).impression)]
    same = Router(
        router.vocabulary,
        router.classifier,
        labels=router.labels,
        temperature=router.temperature,
        reference=reference_of(seen, router.labels),
    )
    assert drift_of(same, texts).advice is Advice.NOTHING


def test_without_a_window_or_words_there_is_nothing_to_compare(router: Router) -> None:
    bare = Router(router.vocabulary, router.classifier, labels=router.labels, version="v1")
    with pytest.raises(ArtefactError, match="v1 was fitted without a window"):
        drift_of(bare, ["a"])
    with pytest.raises(ArtefactError, match="0 queries with words are too few"):
        drift_of(router, ["", "?"])
