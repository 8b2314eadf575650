"""Who decides, on the running gateway: rules, the second stage, keys' targets, weights and
exploration."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.store import Store
from gateway.catalog import LiveCatalog
from gateway.configuration import ConfigurationError, load
from gateway.routing import _MOST_ASKED as MOST_ASKED
from tests.fakes.vllm import FakeVllm
from tests.gateway.conftest import turnout
from tests.gateway.harness import Running, assert_error, running
from tests.gateway.test_catalog import CONFIG
from tests.serving import serving, wait_for

ESPRESSO = "My espresso machine's steam wand drips after I close the valve"
POEM = "Write a short poem about autumn leaves"
UNSURE = 1.01  # a bound that no first stage reaches

Start = Callable[..., AbstractContextManager[Running]]


@pytest.fixture
def start(tmp_path: Path, artifacts: Path, encoder_folder: Path, engine: FakeVllm) -> Start:
    """Starts a gateway with settings of `[router]`, whose first stage is unsure below `sure`."""

    @contextmanager
    def started(
        sure: float = 0.0, tiers: dict[str, str] | None = None, **router: Any
    ) -> Iterator[Running]:
        copy = tmp_path / "artifacts"
        shutil.copytree(artifacts, copy)
        (manifest,) = (copy / "router").glob("v1-*/manifest.json")
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "sure": sure}))
        with running(tmp_path, copy, encoder_folder, engine, tiers=tiers, router=router) as ready:
            yield ready

    return started


def told(gateway: Running, text: str, key: str = "", **body: Any) -> dict[str, Any]:
    """The dry run's answer."""
    messages = [{"role": "user", "content": text}]
    headers = {"Authorization": f"Bearer {key}"} if key else None
    asked = {"model": "auto", "messages": messages, **body}
    answer = gateway.http.post("/v1/route", json=asked, headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def key_for(gateway: Running, *targets: str) -> str:
    """A new key's secret."""
    made = gateway.admin("POST", "/keys", json={"name": "app", "targets": targets})
    assert made.status_code == 201, made.text
    assert made.json()["targets"] == list(targets)
    return str(made.json()["secret"])


class TestRules:
    RULES = (
        {"name": "contracts", "target": "library", "metadata": {"team": "books"}},
        {"name": "old clients", "target": "general", "models": ["gpt-4o-mini"]},
        {"name": "loans", "target": "library", "keywords": ["renew", "overdue fine"]},
        {"name": "beans", "target": "espresso", "keywords": ["renew", "arabica"]},
    )

    def test_the_first_that_fits_decides_and_says_so(self, start: Start) -> None:
        with start(rules=self.RULES) as gateway:
            for text, body, target, rule in (
                (POEM, {"metadata": {"team": "books", "x": "y"}}, "library", "contracts"),
                (ESPRESSO, {"model": "gpt-4o-mini"}, "general", "old clients"),
                ("RENEW my arabica", {}, "library", "loans"),
                ("Two overdue  fines? An overdue fine!", {}, "library", "loans"),
                ("I like Arabica.", {}, "espresso", "beans"),
            ):
                found = told(gateway, text, **body)
                assert (found["target"], found["reason"], found["rule"]) == (target, "rule", rule)
                assert (found["probability"], found["propensity"]) == (1, 1)
            untouched = told(gateway, "Renewal of the arabicas", metadata={"team": "other"})
            assert untouched["rule"] == "" and untouched["reason"] != "rule"
            named = told(gateway, "renew", model="espresso")
            assert (named["target"], named["reason"], named["asked"]) == (
                "espresso",
                "explicit_domain",
                "espresso",
            )
            answer = gateway.chat("renew")
            assert answer.headers["x-turnout-route"] == "library"
            assert answer.headers["x-turnout-reason"] == "rule: loans"
            assert (
                'turnout_decisions_total{reason="rule",target="library"} 1.0' in gateway.metrics()
            )

    def test_a_key_by_its_name(self, start: Start) -> None:
        with start(rules=[{"name": "r", "target": "library", "keys": ["app"]}]) as gateway:
            key = key_for(gateway, "library", "general")
            assert told(gateway, ESPRESSO, key)["rule"] == "r"
            assert told(gateway, ESPRESSO)["rule"] == ""

    @pytest.mark.parametrize(
        ("rule", "said"),
        [
            ('target = "rose"\nkeywords = ["x"]', "no target 'rose'; did you mean 'roses'"),
            ('target = "roses"', "needs keys, metadata, keywords or models"),
            ('target = "roses"\nkeyword = ["x"]', "did you mean 'keywords'"),
            ('target = "roses"\nkeywords = [" "]', "a keyword is empty"),
        ],
    )
    def test_one_that_cannot_work_stops_the_start(
        self, tmp_path: Path, rule: str, said: str
    ) -> None:
        pack = tmp_path / "pack"
        pack.mkdir()
        (pack / "pack.toml").write_text('name = "roses"\ntitle = "Roses"\n')
        (pack / "queries.jsonl").write_text('{"text": "prune", "label": "roses"}\n')
        config = tmp_path / "turnout.toml"
        text = CONFIG.format(state=tmp_path / "state", pack=pack)
        config.write_text(f'{text}\n[[router.rules]]\nname = "r"\n{rule}\n')
        with pytest.raises(ConfigurationError, match=said):
            settings = load(config)
            LiveCatalog(settings, Store(settings.store_url), None)


class TestSecondStage:
    def test_it_is_asked_where_the_first_is_unsure(self, start: Start) -> None:
        with start(UNSURE) as gateway:
            found = told(gateway, ESPRESSO)
            assert (found["target"], found["stage"], found["unsure"]) == ("espresso", 2, False)
            assert told(gateway, POEM)["stage"] == 2
            assert gateway.chat(ESPRESSO).headers["x-turnout-route"] == "espresso"
            assert 'turnout_second_stage_total{outcome="asked"} 3.0' in gateway.metrics()
            state = gateway.settings.state
            (routed,) = [json.loads(turnout("route", ESPRESSO, "--json", state=state))]
            assert (routed["target"], routed["stage"]) == ("espresso", 2)

    def test_it_is_not_where_the_first_is_sure(self, start: Start) -> None:
        with start(0.0) as gateway:
            assert told(gateway, ESPRESSO)["stage"] == 1
            assert "turnout_second_stage_total{" not in gateway.metrics()


class Endpoint:
    """A Decisions API that says what it is told to."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.answer: Response = _shares(library=0.9, general=0.1)
        self.released = threading.Event()
        self.released.set()
        self.app = Starlette(routes=[Route("/v1/decisions", self.decide, methods=["POST"])])

    async def decide(self, request: Request) -> Response:
        self.keys.append(request.headers.get("authorization"))
        self.seen.append(await request.json())
        await anyio.to_thread.run_sync(self.released.wait)
        return self.answer


def _shares(**shares: float) -> Response:
    probabilities = [{"value": name, "probability": p} for name, p in shares.items()]
    best = max(shares, key=shares.__getitem__)
    answer = {"type": "choice", "name": "target", "choice": best, "confidence": shares[best]}
    answers = [{**answer, "probabilities": probabilities}]
    return JSONResponse({"answers": answers, "model": "judge", "usage": {}})


class TestDecisionsEndpoint:
    @pytest.fixture
    def endpoint(self) -> Endpoint:
        return Endpoint()

    @pytest.fixture
    def gateway(
        self, start: Start, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Running]:
        monkeypatch.setenv("JUDGE_KEY", "sk-judge")
        with serving(endpoint.app) as url:
            second = {
                "url": f"{url}/v1",
                "model": "judge",
                "key_env": "JUDGE_KEY",
                "timeout_s": 5,
            }
            with start(UNSURE, second=second) as ready:
                yield ready

    def test_it_takes_the_second_stages_place(self, gateway: Running, endpoint: Endpoint) -> None:
        found = told(gateway, ESPRESSO)
        assert found["target"] == "library"
        assert found["probabilities"] == {"espresso": 0.0, "library": 0.9, "general": 0.1}
        assert (found["probability"], found["reason"], found["stage"]) == (0.9, "classifier", 2)
        (asked,) = endpoint.seen
        (question,) = asked["questions"]
        assert (asked["model"], asked["input"]) == ("judge", ESPRESSO)
        assert (question["type"], question["name"]) == ("choice", "target")
        assert {choice["value"] for choice in question["choices"]} == {
            "espresso",
            "library",
            "general",
        }
        assert all(choice["description"] for choice in question["choices"])
        assert endpoint.keys == ["Bearer sk-judge"]

    def test_what_is_no_decision_leaves_the_first(
        self, gateway: Running, endpoint: Endpoint
    ) -> None:
        wrong = [
            JSONResponse({"error": {"message": "no"}}, 500),
            Response(b"<html>"),
            JSONResponse({"answers": []}),
            JSONResponse({"answers": [{"type": "refusal", "name": "target"}]}),
            _shares(roses=1.0),
            _shares(library=7.0),
        ]
        for endpoint.answer in wrong:
            found = told(gateway, ESPRESSO)
            assert (found["target"], found["stage"], found["unsure"]) == ("espresso", 1, True)
        assert 'turnout_second_stage_total{outcome="failed"} 6.0' in gateway.metrics()

    def test_who_comes_when_many_wait_is_not_kept_waiting(
        self, gateway: Running, endpoint: Endpoint
    ) -> None:
        endpoint.released.clear()
        with ThreadPoolExecutor(MOST_ASKED) as callers:
            waiting = [callers.submit(told, gateway, ESPRESSO) for _ in range(MOST_ASKED)]
            wait_for(lambda: len(endpoint.seen) == MOST_ASKED, "the endpoint to be busy")
            assert told(gateway, ESPRESSO)["stage"] == 1
            endpoint.released.set()
            assert {answer.result()["stage"] for answer in waiting} == {2}
        assert f'turnout_second_stage_total{{outcome="asked"}} {MOST_ASKED}.0' in gateway.metrics()
        assert 'turnout_second_stage_total{outcome="skipped"} 1.0' in gateway.metrics()


def test_an_endpoint_that_is_silent_or_absent_leaves_the_first(start: Start) -> None:
    endpoint = Endpoint()
    endpoint.released.clear()
    with serving(endpoint.app) as url:
        second = {"url": f"{url}/v1", "model": "judge", "timeout_s": 0.05}
        with start(UNSURE, second=second) as gateway:
            assert told(gateway, ESPRESSO)["stage"] == 1
            assert gateway.chat(ESPRESSO).headers["x-turnout-route"] == "espresso"
            endpoint.released.set()
            assert 'turnout_second_stage_total{outcome="failed"} 2.0' in gateway.metrics()


class TestKeys:
    def test_what_a_key_may_not_use_is_refused_by_name(self, start: Start) -> None:
        with start() as gateway:
            version = gateway.champion("library")
            key = {"Authorization": f"Bearer {key_for(gateway, 'espresso', 'general')}"}
            messages = [{"role": "user", "content": POEM}]
            for model, extra in (
                ("library", {}),
                (version, {}),
                ("auto", {"turnout": {"domain": "library"}}),
            ):
                body = {"model": model, "messages": messages, **extra}
                answer = gateway.http.post("/v1/chat/completions", json=body, headers=key)
                said = assert_error(answer, 403, "insufficient_permissions")
                assert "may not use 'library'; it may use espresso, general" in said
            body = {"model": "espresso", "messages": messages}
            answer = gateway.http.post("/v1/chat/completions", json=body, headers=key)
            assert answer.headers["x-turnout-route"] == "espresso"
            assert 'turnout_errors_total{error_type="policy_forbidden"} 3.0' in gateway.metrics()

    def test_auto_stays_within(self, start: Start) -> None:
        with start() as gateway:
            for targets, text, target, reason in (
                (("library", "general"), ESPRESSO, "general", "not_allowed"),
                (("espresso",), ESPRESSO, "espresso", "classifier"),
                (("espresso",), POEM, "espresso", "not_allowed"),
                (("general",), POEM, "general", "classifier"),
            ):
                found = told(gateway, text, key_for(gateway, *targets))
                assert (found["target"], found["reason"]) == (target, reason)

    def test_a_rule_leads_nobody_where_the_key_may_not_go(self, start: Start) -> None:
        rules = [{"name": "r", "target": "library", "keywords": ["espresso"]}]
        with start(rules=rules) as gateway:
            assert told(gateway, ESPRESSO)["rule"] == "r"
            assert told(gateway, ESPRESSO, key_for(gateway, "espresso"))["target"] == "espresso"

    def test_targets_are_checked_stored_and_listed(self, start: Start) -> None:
        with start() as gateway:
            for targets, said in ((["librari"], "did you mean 'library'"), ([], "at least one")):
                made = gateway.admin("POST", "/keys", json={"name": "app", "targets": targets})
                assert said in assert_error(made, 400)
            key_for(gateway, "library")
            listed = gateway.admin("GET", "/keys").json()
            assert [key["targets"] for key in listed] == [None, ["library"]]
            state = gateway.settings.state
            only = ("--targets", "general, espresso,general", "--json")
            made = json.loads(turnout("keys", "create", "cli", *only, state=state))
            assert made["targets"] == ["general", "espresso"]
            listed = json.loads(turnout("keys", "list", "--json", state=state))
            assert listed[-1]["targets"] == ["general", "espresso"]


class TestWeights:
    """Domains run on the general tier's engine; the tier `big` costs nothing, and its engine was
    never asked."""

    def test_a_cheaper_target_is_preferred(self, start: Start) -> None:
        with (
            serving(FakeVllm(base="big").app) as url,
            start(tiers={"big": url}, cost_weight=1) as gateway,
        ):
            same = told(gateway, ESPRESSO)
            assert (same["target"], same["reason"]) == ("espresso", "classifier")
            cheaper = told(gateway, ESPRESSO, key_for(gateway, "espresso", "big"))
            assert (cheaper["target"], cheaper["reason"]) == ("big", "cost")
            assert cheaper["probability"] == same["probability"]

    def test_a_faster_engine_is_preferred_once_measured(self, start: Start) -> None:
        with (
            serving(FakeVllm(base="big").app) as url,
            start(tiers={"big": url}, latency_weight=1) as gateway,
        ):
            key = key_for(gateway, "espresso", "big")
            assert told(gateway, ESPRESSO, key)["target"] == "espresso"
            gateway.chat(POEM)
            found = told(gateway, ESPRESSO, key)
            assert (found["target"], found["reason"]) == ("big", "cost")


class TestExploration:
    def test_conversations_are_drawn_and_stay(self, start: Start) -> None:
        with start(exploration=0.5) as gateway:
            for number in range(60):
                extra = {"turnout": {"session": f"s{number}"}}
                first = gateway.chat(ESPRESSO, **extra).headers["x-turnout-route"]
                assert told(gateway, ESPRESSO + "!", **extra)["target"] == first
            rows = gateway.stored(60)
            found = {(row["target"], row["reason"], round(row["propensity"], 6)) for row in rows}
            assert found == {
                ("espresso", "classifier", 0.666667),
                ("library", "exploration", 0.166667),
                ("general", "exploration", 0.166667),
            }
            # 1/3 of the sessions is expected elsewhere; the draw is a hash, so always the same.
            assert 10 <= sum(row["reason"] == "exploration" for row in rows) <= 30

    def test_only_what_the_key_may_use_is_drawn(self, start: Start) -> None:
        with start(exploration=0.5) as gateway:
            key = key_for(gateway, "espresso", "general")
            found = [told(gateway, ESPRESSO, key, turnout={"session": f"s{n}"}) for n in range(40)]
            assert {(one["target"], one["propensity"]) for one in found} == {
                ("espresso", 0.75),
                ("general", 0.25),
            }

    def test_names_and_rules_are_not_explored(self, start: Start) -> None:
        rules = [{"name": "r", "target": "library", "keywords": ["renew"]}]
        with start(exploration=0.5, rules=rules) as gateway:
            for number in range(20):
                extra = {"turnout": {"session": f"s{number}"}}
                for text, model, target in (
                    ("renew", "auto", "library"),
                    (ESPRESSO, "library", "library"),
                    ("", "auto", "general"),
                ):
                    found = told(gateway, text, model=model, **extra)
                    assert (found["target"], found["propensity"]) == (target, 1)
