"""The dry run explains itself when it is asked to."""

import json
from math import log

import pytest

from tests.gateway.conftest import turnout
from tests.gateway.harness import Running

QUERY = "how do I descale my espresso machine?"
BODY = {"model": "auto", "messages": [{"role": "user", "content": QUERY}]}


def test_the_route_explains_itself_only_when_asked(gateway: Running) -> None:
    plain = gateway.http.post("/v1/route", json=BODY).json()
    assert "explanation" not in plain
    found = gateway.http.post("/v1/route?explain=true", json=BODY).json()
    explanation = found.pop("explanation")
    assert found == plain
    assert explanation["best"] == "espresso"
    first, second = sorted(plain["probabilities"].values(), reverse=True)[:2]
    assert explanation["margin"] == pytest.approx(log(first / second), abs=1e-3)
    total = explanation["bias"] + sum(each["weight"] for each in explanation["features"])
    assert total == pytest.approx(explanation["margin"])


def test_what_no_router_decided_has_no_explanation(gateway: Running) -> None:
    body = {**BODY, "model": "library"}
    assert gateway.http.post("/v1/route?explain=true", json=body).json()["explanation"] is None


def test_the_command_prints_it(gateway: Running) -> None:
    text = turnout("route", f"[/b] {QUERY}", "--explain", state=gateway.settings.state)
    assert "espresso over " in text
    assert "[/b]" in text
    row = json.loads(turnout("route", QUERY, "--explain", "--json", state=gateway.settings.state))
    assert {each["text"] for each in row["explanation"]["features"]} >= {"espresso", "descale"}
