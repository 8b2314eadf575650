"""Experiments end to end: who is assigned, what answers, and what the record says of it."""

from typing import Any

import httpx2

from adapters.experiments.book import ExperimentBook
from adapters.experiments.metrics import measure
from adapters.experiments.observations import Population
from tests.gateway.harness import Running, assert_error

TEXT = "The steam wand drips, what should I do?"
BASE = {"name": "control", "model": "base"}
ARM = "x-turnout-arm"


def begin(gateway: Running, *arms: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Start an experiment between these arms through the admin listener."""
    body = {"name": "e", "domain": "espresso", "arms": arms, **changes}
    made = gateway.admin("POST", "/experiments", json=body)
    assert made.status_code == 201, made.text
    return dict(made.json())


def ask(gateway: Running, session: str, **body: Any) -> httpx2.Response:
    answer = gateway.chat(TEXT, model="espresso", turnout={"session": session}, **body)
    assert answer.status_code == 200
    return answer


def move(gateway: Running, kind: str, **values: Any) -> httpx2.Response:
    return gateway.admin("POST", "/experiments/e/move", json={"kind": kind, **values})


def test_an_arm_brings_its_own_prompt(gateway: Running) -> None:
    begin(gateway, {**BASE, "weight": 0}, {**BASE, "name": "brief", "prompt": "Three words."})
    assert ask(gateway, "s1").headers[ARM] == "brief"
    assert gateway.engine.seen[-1]["messages"][0]["content"].startswith("Three words.")
    own = [{"role": "system", "content": "Mine."}, {"role": "user", "content": TEXT}]
    body = {"model": "espresso", "messages": own}
    assert gateway.http.post("/v1/chat/completions", json=body).status_code == 200
    assert gateway.engine.seen[-1]["messages"][0]["content"].startswith("Mine.")


def test_a_fallback_is_no_exposure(gateway: Running) -> None:
    champion = gateway.champion("espresso", seed=1)
    gateway.engine.refuse_load = "told to"
    absent = gateway.adapter("espresso", seed=2)
    begin(gateway, {**BASE, "weight": 0}, {"name": "new", "model": absent})
    answer = ask(gateway, "s1")
    assert answer.headers[ARM] == "new" and answer.json()["model"] == champion
    (row,) = gateway.stored()
    assert (row["arm"], row["standing"], row["exposed"]) == ("new", "assigned", False)
    entry = ExperimentBook(gateway.store, gateway.registry).entry("e")
    assert measure(gateway.store, entry).populations["new"] == Population(1, 0, 1, 0)


def test_an_error_of_the_arm_counts_against_it(gateway: Running) -> None:
    begin(gateway, {**BASE, "weight": 0}, {**BASE, "name": "new"})
    assert ask(gateway, "s1").status_code == 200
    assert gateway.chat("fail 500", model="espresso", user="s2").status_code == 502
    assert [row["exposed"] for row in gateway.stored(2)] == [True, False]
    entry = ExperimentBook(gateway.store, gateway.registry).entry("e")
    errors = measure(gateway.store, entry).samples["error"]["new"]
    assert (list(errors.y), list(errors.x)) == ([0, 1], [1, 1])


def test_who_is_in_no_arm_is_served_as_ever_and_recorded(gateway: Running) -> None:
    begin(
        gateway,
        {**BASE, "weight": 0},
        {**BASE, "name": "new"},
        holdout=0.5,
        eligibility={"metadata": {"tier": ["free"]}},
    )
    free = {"metadata": {"tier": "free"}}
    for number in range(20):
        answer = ask(gateway, f"s{number}", **free)
        assert answer.headers.get(ARM) in ("new", None)
    assert ARM not in ask(gateway, "paid", metadata={"tier": "paid"}).headers
    messages = [{"role": "user", "content": TEXT}]
    told = gateway.http.post("/v1/route", json={"model": "espresso", "messages": messages}).json()
    assert told["experiment"] is None and told["arm"] is None and told["propensity"] == 1.0
    rows = gateway.stored(21)
    assert {row["experiment"] for row in rows} == {"e"}
    standings = [row["standing"] for row in rows]
    assert standings.count("ineligible") == 1
    assert 3 <= standings.count("holdout") <= 17
    assert all((row["arm"] == "new") is (row["standing"] == "assigned") for row in rows)
    assert 'turnout_assignments_total{arm="holdout",experiment="e"}' in gateway.metrics()


def test_a_move_is_shown_with_its_evidence_and_splits_no_conversation(gateway: Running) -> None:
    begin(gateway, BASE, {**BASE, "name": "new"}, stages=[50, 100], unit="user")
    before = {n: ask(gateway, f"s{n}", user=f"user{n}").headers[ARM] for n in range(12)}
    assert set(before.values()) == {"control", "new"}
    gateway.stored(12)
    why = {"reason": "it is better", "evidence": {"effect": 0.1}}
    assert move(gateway, "stage", percent=100, **why).json()["percent"] == 100
    for number, arm in before.items():
        assert ask(gateway, f"s{number}", user=f"user{number}").headers[ARM] == arm
        assert ask(gateway, f"next{number}", user=f"user{number}").headers[ARM] == "new"
    gateway.stored(36)
    shown = gateway.admin("GET", "/experiments/e").json()
    assert shown["state"] == "running" and shown["unit"] == "user" and shown["stages"] == [50, 100]
    assert (
        shown["kept"] == list(before.values()).count("control") == shown["answers"]["control"] / 2
    )
    assert [made["kind"] for made in shown["moves"]] == ["create", "stage"]
    assert shown["moves"][1]["evidence"] == {"effect": 0.1}
    assert shown["moves"][1]["reason"] == "it is better"


def test_moves_that_make_no_sense_are_refused(gateway: Running) -> None:
    begin(gateway, BASE, {**BASE, "name": "new"}, stages=[50, 100])
    assert_error(move(gateway, "stage", percent=7), 409)
    assert_error(move(gateway, "stage"), 400)
    assert_error(move(gateway, "weights", weights={"new": 1}), 409)
    assert_error(move(gateway, "sideways"), 400)
    assert move(gateway, "freeze").json()["state"] == "frozen"
    assert_error(move(gateway, "stage", percent=100), 409)
    assert ARM in ask(gateway, "s1").headers
    assert move(gateway, "thaw").json()["state"] == "running"
    assert move(gateway, "stop").json()["state"] == "stopped"
    assert ARM not in ask(gateway, "s1").headers
    assert_error(gateway.admin("GET", "/experiments/absent"), 404)


def test_every_problem_of_a_design_is_in_the_answer(gateway: Running) -> None:
    body = {"name": "bad name", "domain": "espresso", "arms": [BASE], "stages": "soon", "x": 1}
    said = assert_error(gateway.admin("POST", "/experiments", json=body), 422)
    for part in ("name:", "arms: needs at least two arms", "stages:", "x: known are"):
        assert part in said
    assert_error(gateway.admin("POST", "/experiments", json=[body]), 400)
