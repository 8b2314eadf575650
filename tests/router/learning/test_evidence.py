import msgspec
import pytest

from router.examples import Example
from router.learning.evidence import UNIT_FLOOR, Counts, Learned, Praise, learned
from tests.router.learning.log import METRIC, Constant, logged

UNDECIDED = Constant({"espresso": 0.7, "general": 0.2, "library": 0.1})
SURE = Constant({"espresso": 0.95, "general": 0.03, "library": 0.02})


def texts(found: Learned) -> list[str]:
    return [example.text for example in found.examples]


def test_praise_of_a_likely_target_is_an_example() -> None:
    log = [logged("descale it", "espresso", 1.0, unit=f"u{n}") for n in range(3)]
    found = learned(log, METRIC, UNDECIDED, [])
    assert found.examples == [Example("descale it", "espresso", source="log")]
    assert found.counts == Counts(
        told=3, capped=0, repeated=2, known=0, contradicted=0, unsure=0, learned=1
    )


def test_blame_keeps_a_likely_target_from_being_one() -> None:
    praised, blamed = logged("a", "espresso", 1.0), logged("b", "espresso", 0.0)
    found = learned([praised, blamed], METRIC, SURE, [])
    assert texts(found) == ["a"]
    assert found.counts.unsure == 1


def test_one_user_does_not_turn_a_query_and_many_do() -> None:
    usual = [logged(f"a{n}", "espresso", float(n % 5 > 0), unit=f"a{n}") for n in range(200)]
    usual += [logged(f"b{n}", "library", float(n % 5 > 3), unit=f"b{n}") for n in range(200)]
    one = [logged("renew my card", "library", 1.0) for _ in range(50)]
    assert "renew my card" not in texts(learned([*usual, *one], METRIC, SURE, []))
    many = [logged("renew my card", "library", 1.0, unit=f"u{n}") for n in range(10)]
    found = learned([*usual, *many], METRIC, SURE, [])
    assert Example("renew my card", "library", source="log") in found.examples


def test_of_one_unit_only_so_much_counts() -> None:
    log = [logged(f"query {n}", "espresso", 1.0) for n in range(40)]
    found = learned(log, METRIC, SURE, [])
    assert (found.counts.capped, len(found.examples)) == (40 - UNIT_FLOOR, UNIT_FLOOR)


def test_what_the_examples_have_is_theirs() -> None:
    known = [Example("Descale  it", "espresso")]
    log = [logged("descale it", "library", 1.0), logged("descale IT", "espresso", 1.0, unit="u2")]
    found = learned(log, METRIC, SURE, known)
    assert found.examples == []
    assert (found.counts.known, found.counts.contradicted) == (1, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"train": False},
        {"ok": False},
        {"turns": ("  ",)},
        {"rewards": {}},
        {"rewards": {"another": 1.0}},
    ],
)
def test_what_must_not_or_cannot_teach(changes: dict[str, object]) -> None:
    one = msgspec.structs.replace(logged("descale it", "espresso", 1.0), **changes)
    assert learned([one], METRIC, SURE, []).counts.told == 0


@pytest.mark.parametrize("changes", [{"demonstrated": True}, {"reason": "explicit_domain"}])
def test_a_correction_and_a_named_domain_say_where_it_belongs(changes: dict[str, object]) -> None:
    found = learned([logged("descale it", "espresso", **changes)], METRIC, SURE, [])
    assert [example.label for example in found.examples] == ["espresso"]


def test_what_praise_is_worth_is_learned_from_the_log() -> None:
    """Ratings that say nothing of the target are worth nothing."""
    log = [logged(f"q{n}", "espresso", float(n % 2), unit=f"u{n}") for n in range(4_000)]
    log += [logged(f"r{n}", "library", float(n % 2), unit=f"v{n}") for n in range(4_000)]
    found = learned(log, METRIC, UNDECIDED, [])
    assert found.praise.right == pytest.approx(0.5, abs=0.02)
    assert found.praise.wrong == pytest.approx(0.5, abs=0.02)
    assert found.examples == []


def test_an_empty_log_teaches_nothing() -> None:
    found = learned([], METRIC, SURE, [])
    assert (found.examples, found.praise) == ([], Praise(0.7, 0.4))
