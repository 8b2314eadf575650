"""Agreement beyond chance, against published figures and kept libraries."""

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from adapters.review.book import ReviewBook, Wanted
from adapters.review.item import Decision
from tests.training.review.items import ACCEPT, CORRECT, REJECT, SKIP, item
from training.review.agreement import agreement, alpha_of, kappa_of

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section C: four observers,
# twelve units, missing values; alpha is .743.
PUBLISHED = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""


def test_alpha_is_what_its_author_computes() -> None:
    observers = [line.split() for line in PUBLISHED.strip().splitlines()]
    counts = np.zeros((12, 5))
    for said in observers:
        for unit, value in enumerate(said):
            if value != ".":
                counts[unit, int(value) - 1] += 1
    assert alpha_of(counts) == pytest.approx(0.743, abs=0.0005)


def test_alpha_and_kappa_are_those_of_libraries() -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(4, size=300)
    noisy = [np.where(rng.random(300) < 0.3, rng.integers(4, size=300), truth) for _ in range(3)]
    counts = sum(np.eye(4)[one] for one in noisy)
    library = krippendorff.alpha(value_counts=counts.astype(int), level_of_measurement="nominal")
    assert alpha_of(counts) == pytest.approx(library)
    table = np.zeros((4, 4))
    np.add.at(table, (noisy[0], noisy[1]), 1)
    assert kappa_of(table) == pytest.approx(cohen_kappa_score(noisy[0], noisy[1]))


def test_annotators_are_compared_on_what_they_both_said(book: ReviewBook) -> None:
    items = [item(f"question {n}", wanted=2) for n in range(40)]
    book.add(items)
    book.decide([Decision(one.id, ACCEPT) for one in items], "ada")
    said = [Decision(one.id, ACCEPT) for one in items[:20]]
    said += [Decision(one.id, CORRECT, "cold") for one in items[20:30]]
    said += [Decision(one.id, REJECT) for one in items[30:36]]
    said += [Decision(one.id, SKIP) for one in items[36:]]
    book.decide(said, "ben")
    found = agreement(book.every(Wanted("boiler")))
    assert found.alpha.n == 36
    assert found.kappa["ada", "ben"].value == 0  # one who always says the same agrees by chance
    assert {label: dict(others) for label, others in found.confusion.items()} == {
        "(rejected)": {"leak": 6},
        "cold": {"leak": 10},
        "leak": {"leak": 20, "cold": 10, "(rejected)": 6},
    }
    assert set(found.disputed) == {one.id for one in items[20:36]}
    assert found.alpha.ci95 is not None and found.alpha.value is not None
    assert found.alpha.ci95[0] <= found.alpha.value <= found.alpha.ci95[1] < 0.5


def test_a_settled_dispute_does_not_count_as_a_voice(book: ReviewBook) -> None:
    new = item("it drips", wanted=2)
    book.add([new])
    book.decide([Decision(new.id, ACCEPT)], "ada")
    book.decide([Decision(new.id, REJECT)], "ben")
    before = agreement(book.every(Wanted()))
    book.decide([Decision(new.id, REJECT)], "cem", final=True)
    after = agreement(book.every(Wanted()))
    assert (before.disputed, after.disputed) == ((new.id,), ())
    assert before.alpha == after.alpha and list(after.kappa) == [("ada", "ben")]


def test_nobody_agrees_on_nothing(book: ReviewBook) -> None:
    found = agreement(book.every(Wanted()))
    assert found.as_json() == {
        "alpha": {"value": None, "ci95": None, "n": 0},
        "kappa": [],
        "confusion": {},
        "disputed": [],
    }
