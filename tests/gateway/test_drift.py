"""The gauge of drift: what it counts, when it shows, and how workers' counts are joined."""

from pathlib import Path

import orjson
import pytest

from gateway.telemetry import Telemetry
from router.decision import Decision, Impression
from router.reference import Reference, Signal, reference_of
from router.router import Router

LABELS = ("general", "legal")
USUAL = [
    Impression(LABELS[n % 2], 0.5 + n % 50 / 100, 10 + n % 300, n % 5 / 10, n % 7 == 0)
    for n in range(3_000)
]


def router(reference: Reference | None, version: str = "v1") -> Router:
    """Nothing here decides; only its version and its reference are looked at."""
    return Router(None, None, labels=LABELS, version=version, reference=reference)  # type: ignore[arg-type]


def decisions(count: int, version: str = "v1", **changes: object) -> list[Decision]:
    return [
        Decision(
            each.best,
            each.probability,
            router_version=version,
            impression=Impression(
                *(changes.get(f, getattr(each, f)) for f in each.__struct_fields__)
            ),
        )
        for each in USUAL[:count]
    ]


def told(telemetry: Telemetry) -> dict[str, float]:
    lines = telemetry.render().decode().splitlines()
    found = (line.split('"') for line in lines if line.startswith("turnout_drift{"))
    return {signal: float(value.removeprefix("} ")) for _, signal, value in found}


@pytest.fixture
def followed() -> Router:
    return router(reference_of(USUAL, LABELS))


def watching(current: Router, seen: list[Decision]) -> Telemetry:
    telemetry = Telemetry()
    telemetry.drift.follow(current)
    for decision in seen:
        telemetry.drift.observe(decision)
    return telemetry


def test_usual_queries_have_not_drifted(followed: Router) -> None:
    shown = told(watching(followed, decisions(2_000)))
    assert shown.keys() == {signal.value for signal in Signal}
    assert max(shown.values()) < 0.05


def test_only_what_changed_shows(followed: Router) -> None:
    shown = told(watching(followed, decisions(2_000, best="legal")))
    assert shown.pop("label") > 0.25
    assert max(shown.values()) < 0.05


def test_few_queries_show_nothing(followed: Router) -> None:
    assert told(watching(followed, decisions(499))) == {}


def test_decisions_of_other_routers_and_of_none_do_not_count(followed: Router) -> None:
    telemetry = watching(followed, decisions(600, version="v0"))
    telemetry.drift.observe(Decision("general", 1.0, router_version="v1"))
    assert told(telemetry) == {}


def test_another_router_begins_anew(followed: Router) -> None:
    telemetry = watching(followed, decisions(600))
    telemetry.drift.follow(followed)
    assert told(telemetry)
    telemetry.drift.follow(router(followed.reference, "v2"))
    assert told(telemetry) == {}
    telemetry.drift.follow(router(None, "v3"))
    telemetry.drift.observe(decisions(1, "v3")[0])
    telemetry.drift.follow(None)
    assert told(telemetry) == {}


def test_workers_are_one_window(followed: Router) -> None:
    """Two halves, neither enough by itself; one that follows another router is left out."""
    halves = [watching(followed, decisions(300)), watching(followed, decisions(300))]
    other = watching(router(reference_of(USUAL[:50], LABELS)), decisions(900, best="legal"))
    whole = Telemetry()
    for telemetry in (*halves, other):
        whole.absorb(orjson.loads(orjson.dumps(telemetry.series())), gauges=True)
    shown = told(whole)
    assert shown.keys() == {signal.value for signal in Signal}
    assert shown["label"] < 0.05


def test_counts_of_a_worker_that_ended_are_not_taken_up(followed: Router, tmp_path: Path) -> None:
    whole = Telemetry()
    whole.absorb(watching(followed, decisions(600)).series(), gauges=False)
    assert told(whole) == {}
