"""Several replicas behind one gateway: they lose adapters, break, die, come back, appear and
leave."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.vllm import FakeVllm
from tests.gateway.harness import Running, assert_error, running
from tests.serving import Switched, wait_for

TEXT = "Which gasket fits the group head?"
WORD = b'"content": "word "'
DEBUG = {"x-turnout-debug": "1"}


@dataclass(frozen=True)
class Pair:
    """A gateway over two replicas with four places each, and a third one that waits outside."""

    gateway: Running
    engines: tuple[FakeVllm, FakeVllm, FakeVllm]
    servers: tuple[Switched, Switched, Switched]

    def ask(self, text: str = TEXT, model: str = "espresso", **body: Any) -> tuple[str, str]:
        """The model that answered, and the replica it was on."""
        response = self.gateway.http.post(
            "/v1/chat/completions",
            headers=DEBUG,
            json={"model": model, "messages": [{"role": "user", "content": text}], **body},
        )
        assert response.status_code == 200, response.text
        account = dict(part.split("=") for part in response.headers["x-turnout-debug"].split("; "))
        return response.json()["model"], account["replica"]

    def replicas_asked(self, count: int = 30) -> set[str]:
        return {self.ask(f"say {number}")[1] for number in range(count)}

    def champion(self) -> str:
        """A first champion that both replicas serve."""
        return self.gateway.champion("espresso", 1, replicas=2)


@pytest.fixture
def pair(
    request: pytest.FixtureRequest, tmp_path: Path, artifacts: Path, encoder_folder: Path
) -> Iterator[Pair]:
    root = tmp_path / "base"
    root.mkdir()
    (root / "config.json").write_text(json.dumps({"model_type": "tiny"}))
    engines = (FakeVllm(root=str(root)), FakeVllm(root=str(root)), FakeVllm(root=str(root)))
    with ExitStack() as stack:
        servers = tuple(Switched(engine.app) for engine in engines)
        for server in servers:
            stack.callback(server.stop)
        urls = [server.url for server in servers[:2]]
        limits = {"max_loras": 2, "max_cpu_loras": 4, "load_timeout": 5}
        limits |= getattr(request, "param", {})
        with running(
            tmp_path, artifacts, encoder_folder, engines[0], urls=urls, limits=limits
        ) as gateway:
            yield Pair(gateway, engines, servers)


def test_every_replica_gets_the_champion_and_traffic(pair: Pair) -> None:
    version = pair.champion()
    assert pair.replicas_asked() == {server.url for server in pair.servers[:2]}
    assert all(version in engine.adapters for engine in pair.engines[:2])


def test_a_conversation_stays_on_its_replica(pair: Pair) -> None:
    homes = {pair.ask(f"say {turn}", "general", user="anna")[1] for turn in range(10)}
    assert len(homes) == 1
    homes = {pair.ask("the same beginning", "general")[1] for _ in range(10)}
    assert len(homes) == 1


def test_the_account_of_the_choice_is_for_admins_who_ask(pair: Pair) -> None:
    made = pair.gateway.admin("POST", "/keys", json={"name": "app"}).json()
    user = {"Authorization": f"Bearer {made['secret']}", **DEBUG}
    body = {"model": "general", "messages": [{"role": "user", "content": "hi"}]}
    answer = pair.gateway.http.post("/v1/chat/completions", headers=user, json=body)
    assert answer.status_code == 200 and "x-turnout-debug" not in answer.headers
    assert "x-turnout-debug" not in pair.gateway.chat("hi").headers


@pytest.mark.parametrize("stream", [False, True])
def test_a_lost_adapter_is_not_noticed_by_callers(pair: Pair, stream: bool) -> None:
    version = pair.champion()
    for round in range(3):
        pair.engines[0].adapters.clear()
        for number in range(10):
            answer = pair.gateway.chat(f"say {round} {number}", "espresso", stream=stream)
            assert version in answer.text and answer.headers["x-turnout-reason"] == (
                "explicit_domain"
            )
    wait_for(lambda: version in pair.engines[0].adapters, "the adapter to be back")


@pytest.mark.parametrize("stream", [False, True])
def test_a_broken_replica_costs_no_answer_and_is_left_alone(pair: Pair, stream: bool) -> None:
    version = pair.champion()
    pair.engines[0].broken = True
    for number in range(40):
        answer = pair.gateway.chat(f"say {number}", "espresso", stream=stream)
        assert answer.status_code == 200 and version in answer.text
    asked = [body for body in pair.engines[0].seen if "messages" in body]
    assert 3 <= len(asked) <= 12, "the circuit opened"
    pair.engines[0].broken = False
    wait_for(
        lambda: pair.servers[0].url in pair.replicas_asked(20), "the replica to be tried again"
    )


def test_a_request_that_breaks_replicas_is_given_up(pair: Pair) -> None:
    pair.champion()
    answer = pair.gateway.chat("fail 500", "espresso")
    assert answer.status_code == 502
    asked = sum(
        body.get("messages", [{}])[-1].get("content") == "fail 500"
        for engine in pair.engines
        for body in engine.seen
    )
    assert asked == 3


@pytest.mark.parametrize("pair", [{"timeout": 0.5}], indirect=True)
@pytest.mark.parametrize("stream", [False, True])
def test_a_stuck_replica_is_given_up_for_another(pair: Pair, stream: bool) -> None:
    pair.engines[0].stuck = True
    started = time.monotonic()
    for number in range(20):
        assert pair.gateway.chat(f"say {number}", "general", stream=stream).status_code == 200
    assert time.monotonic() - started < 6, "its circuit opened; not every request waited for it"


@pytest.mark.parametrize("pair", [{"timeout": 30, "deadline": 1}], indirect=True)
def test_the_deadline_bounds_all_tries_together(pair: Pair) -> None:
    for engine in pair.engines:
        engine.stuck = True
    started = time.monotonic()
    answer = pair.gateway.chat("hello", "general")
    assert_error(answer, 504, "engine_timeout")
    assert 0.9 < time.monotonic() - started < 3
    (stored,) = pair.gateway.stored()
    assert stored["outcome"] == "error" and "no byte within" in stored["error"]


def test_a_replica_dies_and_comes_back(pair: Pair) -> None:
    version = pair.champion()
    pair.servers[0].stop()
    pair.engines[0].adapters.clear()
    for number in range(30):
        model, replica = pair.ask(f"say {number}")
        assert (model, replica) == (version, pair.servers[1].url)
    wait_for(
        lambda: 'turnout_engine_up{engine="local"} 1.0' in pair.gateway.metrics(), "it to be down"
    )
    pair.servers[0].start()
    pair.gateway.wait_served(version, 2)
    wait_for(lambda: pair.servers[0].url in pair.replicas_asked(20), "it to take traffic")


def test_a_stream_that_had_begun_ends_with_one_error_event(pair: Pair) -> None:
    pair.champion()
    body = {
        "model": "espresso",
        "stream": True,
        "messages": [{"role": "user", "content": "slowly " + "word " * 100}],
    }
    events: list[str] = []
    http = pair.gateway.http
    with http.stream("POST", "/v1/chat/completions", json=body, headers=DEBUG) as answer:
        replica = answer.headers["x-turnout-debug"].split(";")[0].removeprefix("replica=")
        (server,) = (server for server in pair.servers if server.url == replica)
        killer = threading.Timer(0.3, server.stop)
        killer.start()
        events = [line for line in answer.iter_lines() if line]
    killer.join()
    assert sum('"error"' in event for event in events) == 1
    assert '"error"' in events[-1] and "[DONE]" not in events[-1]


def test_a_third_replica_appears_is_used_and_leaves(pair: Pair) -> None:
    version = pair.champion()
    first, second, third = (server.url for server in pair.servers)
    pair.gateway.reconfigure(first, second, third)
    pair.gateway.wait_served(version, 3)
    assert version in pair.engines[2].adapters
    assert pair.replicas_asked(40) == {first, second, third}

    body = {"model": "espresso", "stream": True, "user": "u"}
    slowly = [{"role": "user", "content": "slowly " + "word " * 60}]
    http = pair.gateway.http
    streams = []
    for number in range(9):  # at least one of them is answered by the third
        request = http.build_request(
            "POST",
            "/v1/chat/completions",
            json={**body, "messages": slowly, "user": f"u{number}"},
            headers=DEBUG,
        )
        streams.append(http.send(request, stream=True))
    on_third = [s for s in streams if third in s.headers["x-turnout-debug"]]
    assert on_third
    pair.gateway.reconfigure(first, second)
    wait_for(lambda: third not in pair.replicas_asked(10), "the third to take no more traffic")
    for stream in streams:
        assert stream.read().count(WORD) == 60, "it ended on the replica it began with"
        stream.close()
    up = 'turnout_engine_up{engine="local"} 2.0'
    wait_for(lambda: up in pair.gateway.metrics(), "the third to be gone")


def test_a_version_is_drained_before_it_is_unloaded(pair: Pair) -> None:
    old, new = pair.champion(), pair.gateway.adapter("espresso", 2)
    body = {
        "model": "espresso",
        "stream": True,
        "messages": [{"role": "user", "content": "slowly " + "word " * 50}],
    }
    with pair.gateway.http.stream("POST", "/v1/chat/completions", json=body, headers=DEBUG) as one:
        replica = one.headers["x-turnout-debug"].split(";")[0].removeprefix("replica=")
        busy = [server.url for server in pair.servers].index(replica)
        pair.gateway.admin("POST", f"/adapters/{new}/promote", json={})
        pair.gateway.admin("POST", f"/adapters/{old}/retire", json={})
        idle = pair.engines[1 - busy]
        wait_for(lambda: old not in idle.adapters, "the idle replica to unload it")
        assert old in pair.engines[busy].adapters, "its last stream is under way"
        (row,) = (r for r in pair.gateway.admin("GET", "/adapters").json() if r["version"] == old)
        assert [(r["replica"], r["state"]) for r in row["replicas"]] == [(replica, "draining")]
        assert pair.gateway.chat(TEXT, model=old).status_code == 404
        text = one.read()
    assert text.count(WORD) == 50 and b"[DONE]" in text and new.encode() not in text
    wait_for(lambda: old not in pair.engines[busy].adapters, "it to be unloaded")


def test_a_cold_version_is_loaded_on_demand_and_goes_when_its_place_is_needed(pair: Pair) -> None:
    champion = pair.champion()
    cold = [pair.gateway.adapter("espresso", seed) for seed in range(10, 22)]
    wait_for(lambda: cold[-1] in pair.gateway.http.get("/v1/models").text, "the catalog")
    for version in cold:
        assert pair.ask(model=version)[0] == version
        for engine in pair.engines[:2]:
            assert len(engine.adapters) <= 4 and champion in engine.adapters
    held = set(pair.engines[0].adapters) | set(pair.engines[1].adapters)
    assert {champion, *cold[-3:]} <= held, "the ones used last are still there"
    again = sum(len(engine.seen) for engine in pair.engines)
    assert pair.ask(model=cold[-1])[0] == cold[-1]
    assert sum(len(engine.seen) for engine in pair.engines) == again + 1, "no load, no probe"


def test_many_cold_versions_at_once_wait_for_a_place(pair: Pair) -> None:
    champion = pair.champion()
    cold = [pair.gateway.adapter("espresso", seed) for seed in range(10, 20)]
    wait_for(lambda: cold[-1] in pair.gateway.http.get("/v1/models").text, "the catalog")
    answers: dict[str, str] = {}

    def ask(version: str) -> None:
        answers[version] = pair.ask("wait 0.2", model=version)[0]

    threads = [threading.Thread(target=ask, args=(version,)) for version in cold]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {version: version for version in cold}
    assert all(champion in engine.adapters for engine in pair.engines[:2])


def test_a_version_that_no_replica_can_load_falls_back_at_once(pair: Pair) -> None:
    champion = pair.champion()
    for engine in pair.engines:
        engine.refuse_load = "told to refuse"
    version = pair.gateway.adapter("espresso", 2)
    wait_for(lambda: version in pair.gateway.http.get("/v1/models").text, "the catalog")
    started = time.monotonic()
    answer = pair.gateway.chat(TEXT, model=version)
    assert time.monotonic() - started < 4, "refusal is an answer, there is nothing to wait for"
    assert answer.json()["model"] == champion
    assert f"fallback: {version} is not available" in answer.headers["x-turnout-reason"]
    pair.gateway.admin("POST", f"/adapters/{version}/promote", json={})
    assert pair.ask()[0] == champion
    failed = f'turnout_adapter_replicas{{state="failed",version="{version}"}} 2.0'
    wait_for(lambda: failed in pair.gateway.metrics(), "both replicas to have failed")
    (row,) = (r for r in pair.gateway.admin("GET", "/adapters").json() if r["version"] == version)
    assert all("told to refuse" in replica["problem"] for replica in row["replicas"])
    for engine in pair.engines:
        engine.refuse_load = ""
    wait_for(lambda: pair.ask()[0] == version, "the next attempt to succeed", 30)


def test_promotion_under_a_slow_load_serves_the_old_champion_meanwhile(pair: Pair) -> None:
    old = pair.champion()
    for engine in pair.engines:
        engine.load_seconds = 1.0
    new = pair.gateway.adapter("espresso", 2)
    pair.gateway.admin("POST", f"/adapters/{new}/promote", json={})
    started = time.monotonic()
    answer = pair.gateway.chat(TEXT, model="espresso")
    assert time.monotonic() - started < 0.8
    assert answer.json()["model"] == old
    assert new in answer.headers["x-turnout-reason"]
    wait_for(lambda: pair.ask()[0] == new, "the new champion to answer")


def test_leftovers_of_another_life_are_adopted_or_unloaded(pair: Pair) -> None:
    champion = pair.champion()
    retired, cold = pair.gateway.adapter("espresso", 2), pair.gateway.adapter("espresso", 3)
    pair.gateway.registry.retire(retired, actor="test")
    home = Path(pair.engines[0].adapters[champion]).parent
    pair.engines[0].adapters |= {
        retired: str(home / retired),
        cold: str(home / cold),
        "somebody-elses": "/somewhere",
    }
    pair.gateway.wait_served(cold)
    wait_for(lambda: retired not in pair.engines[0].adapters, "the retired one to be unloaded")
    assert "somebody-elses" in pair.engines[0].adapters


def test_the_same_name_from_another_path_is_loaded_afresh(pair: Pair) -> None:
    champion = pair.champion()
    path = pair.engines[0].adapters[champion]
    cold = pair.gateway.adapter("espresso", 3)
    pair.engines[0].adapters[cold] = "/tmp/planted"
    pair.gateway.wait_served(cold)
    assert pair.engines[0].adapters[cold] == str(Path(path).parent / cold)


def test_a_version_that_is_served_from_another_path_is_loaded_afresh(pair: Pair) -> None:
    champion = pair.champion()
    path = pair.engines[0].adapters[champion]
    pair.engines[0].adapters[champion] = "/tmp/planted"
    wait_for(lambda: pair.engines[0].adapters.get(champion) == path, "our own files again")


def test_an_engine_that_will_not_unload_goes_on_serving(pair: Pair) -> None:
    old = pair.champion()
    new = pair.gateway.champion("espresso", 2, replicas=2)
    for engine in pair.engines:
        engine.refuse_unload = "told to refuse"
    pair.gateway.admin("POST", f"/adapters/{old}/retire", json={})
    draining = f'turnout_adapter_replicas{{state="draining",version="{old}"}} 2.0'
    wait_for(lambda: draining in pair.gateway.metrics(), "it to be draining")
    assert all(pair.ask(f"say {number}")[0] == new for number in range(10))
    for engine in pair.engines:
        engine.refuse_unload = ""
    wait_for(lambda: old not in pair.engines[0].adapters, "it to be unloaded")


def test_a_failure_nobody_asks_for_any_more_is_forgotten(pair: Pair) -> None:
    pair.champion()
    for engine in pair.engines:
        engine.refuse_load = "told to refuse"
    cold = pair.gateway.adapter("espresso", 3)
    wait_for(lambda: cold in pair.gateway.http.get("/v1/models").text, "the catalog")
    pair.ask(model=cold)
    assert f'state="failed",version="{cold}"' in pair.gateway.metrics()
    wait_for(lambda: cold not in _states(pair), "the failure to be forgotten")


def _states(pair: Pair) -> str:
    """The lines of `/metrics` about versions on replicas."""
    lines = pair.gateway.metrics().splitlines()
    return "\n".join(line for line in lines if line.startswith("turnout_adapter_replicas{"))


def test_a_replica_with_another_model_takes_no_traffic(pair: Pair) -> None:
    pair.engines[0].base = "other"
    wait_for(
        lambda: 'turnout_engine_up{engine="local"} 1.0' in pair.gateway.metrics(), "it to be seen"
    )
    assert pair.replicas_asked(10) == {pair.servers[1].url}
