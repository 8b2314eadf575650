"""Shadow arms: they answer what the control answered, and no caller can tell that they exist."""

import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from adapters.experiments.assignment import uniform
from adapters.experiments.book import ExperimentBook
from adapters.experiments.shadows import compare
from tests.fakes.vllm import FakeVllm
from tests.gateway.conftest import turnout
from tests.gateway.harness import Running, running
from tests.serving import serving, wait_for

TEXT = "The steam wand drips, what should I do?"
CONTROL = {"name": "control", "model": "base"}
QUIET = {"name": "quiet", "model": "base", "prompt": "Unseen.", "shadow": 1.0}


class TwoFacedVllm(FakeVllm):
    """Shadow arms, given away by their prompt, get what `fate` says; everybody else an answer."""

    fate = "answer"

    def __init__(self, root: str) -> None:
        super().__init__(root=root)
        self.shadows: list[dict[str, Any]] = []
        self.ids: list[str] = []

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        self.ids.append(request.headers["x-request-id"])
        if not body["messages"][0]["content"].startswith("Unseen."):
            return await super().chat(request)
        self.shadows.append(body)
        match self.fate:
            case "fail":
                return JSONResponse({"error": {"message": "told to fail"}}, 500)
            case "refuse":
                return JSONResponse({"error": {"message": "told to refuse"}}, 400)
            case "garbage":
                return JSONResponse({"choices": ["what?"]})
            case "cut":
                return StreamingResponse(_cut())
            case "hang":
                await self._wait(request, 60)
        return await super().chat(request)


async def _cut() -> AsyncIterator[bytes]:
    yield b"{"
    raise ConnectionError("cut on request")


@pytest.fixture
def engine(engine: FakeVllm) -> TwoFacedVllm:
    return TwoFacedVllm(engine.root)


@contextmanager
def limited(
    tmp_path: Path, artifacts: Path, encoder: Path, engine: FakeVllm, shadows: int
) -> Iterator[Running]:
    server = {"max_shadows": shadows}
    with running(tmp_path, artifacts, encoder, engine, server=server) as gateway:
        yield gateway


def begin(gateway: Running, *arms: dict[str, Any], **changes: Any) -> None:
    body = {"name": "e", "domain": "espresso", "arms": arms, **changes}
    made = gateway.admin("POST", "/experiments", json=body)
    assert made.status_code == 201, made.text


def ask(gateway: Running, **body: Any) -> httpx2.Response:
    messages = [{"role": "user", "content": TEXT}]
    answer = gateway.http.post(
        "/v1/chat/completions",
        headers={"x-turnout-debug": "1"},
        json={"model": "espresso", "messages": messages, **body},
    )
    assert answer.status_code == 200, answer.text
    return answer


def wait_counted(gateway: Running, outcome: str, count: int, arm: str = "quiet") -> None:
    labels = f'arm="{arm}",experiment="e",outcome="{outcome}"'
    line = f"turnout_shadow_requests_total{{{labels}}} {count}.0"
    wait_for(lambda: line in gateway.metrics(), line)


def test_a_shadow_answers_the_same_and_only_the_record_shows_it(
    gateway: Running, engine: TwoFacedVllm
) -> None:
    begin(gateway, CONTROL, QUIET)
    answer = ask(gateway, turnout={"session": "s1"}, max_tokens=9)
    assert answer.headers["x-turnout-arm"] == "control"
    rows = {row["standing"]: row for row in gateway.stored(2)}
    seen, shadow = rows["assigned"], rows["shadow"]
    assert seen["id"] == answer.json()["id"] == shadow["shadow_of"] != shadow["id"]
    assert seen["shadow_of"] is None
    assert (shadow["experiment"], shadow["arm"], shadow["arm_propensity"]) == ("e", "quiet", 1.0)
    assert (shadow["outcome"], shadow["exposed"], shadow["error"]) == ("ok", True, None)
    assert 0 < shadow["total_ms"] and shadow["completion_tokens"] == seen["completion_tokens"]
    same = ("unit", "session", "experiment_unit", "key", "requested_model", "target", "model")
    same += ("endpoint", "request", "response", "sources", "index_version", "reason", "train")
    assert {name: shadow[name] for name in same} == {name: seen[name] for name in same}
    assert seen["sources"]
    first, second = engine.seen
    prompt, question = second["messages"]
    assert prompt["content"].startswith("Unseen.") and question == first["messages"][-1]
    assert prompt["content"].removeprefix("Unseen.") in first["messages"][0]["content"]
    assert {**second, "messages": []} == {**first, "messages": []}
    assert len(set(engine.ids)) == 2, "engines make it the answer's id"


def test_a_shadow_is_counted_apart(gateway: Running) -> None:
    begin(gateway, CONTROL, QUIET)
    ask(gateway)
    wait_counted(gateway, "ok", 1)
    metrics = gateway.metrics()
    model = 'model="tiny",outcome="ok",target="espresso"} 1.0'
    assert f'turnout_requests_total{{endpoint="chat.completions",{model}' in metrics
    assert 'turnout_tokens_total{direction="input",model="tiny",target="espresso"} 7.0' in metrics
    assert 'turnout_assignments_total{arm="control",experiment="e"} 1.0' in metrics
    assert 'turnout_assignments_total{arm="quiet"' not in metrics


def test_what_is_not_to_be_logged_is_not_mirrored(gateway: Running, engine: TwoFacedVllm) -> None:
    begin(gateway, CONTROL, QUIET)
    ask(gateway, turnout={"log": False})
    ask(gateway)
    wait_counted(gateway, "ok", 1)
    assert len(engine.shadows) == 1


def test_a_stream_is_mirrored_whole(gateway: Running, engine: TwoFacedVllm) -> None:
    begin(gateway, CONTROL, QUIET)
    stream = gateway.openai.chat.completions.create(
        model="espresso", messages=[{"role": "user", "content": TEXT}], stream=True
    )
    said = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    rows = {row["standing"]: row for row in gateway.stored(2)}
    assert rows["shadow"]["shadow_of"] == rows["assigned"]["id"]
    assert said.split() == rows["shadow"]["response"]["text"].split()
    assert "stream" not in engine.shadows[0] and "stream_options" not in engine.shadows[0]
    assert rows["shadow"]["first_token_ms"] is None


def test_an_adapter_is_loaded_to_be_a_shadow(gateway: Running) -> None:
    version = gateway.adapter("espresso", seed=1)
    begin(gateway, CONTROL, {**QUIET, "model": version})
    gateway.wait_served(version)
    assert ask(gateway).json()["model"] == "tiny"
    models = {row["standing"]: row["model"] for row in gateway.stored(2)}
    assert models == {"assigned": "tiny", "shadow": version}


def test_a_tier_answers_as_a_shadow_of_another(
    tmp_path: Path, artifacts: Path, encoder_folder: Path, engine: TwoFacedVllm
) -> None:
    with ExitStack() as stack:
        tiers = {"big": stack.enter_context(serving(FakeVllm("big").app))}
        gateway = stack.enter_context(
            running(tmp_path, artifacts, encoder_folder, engine, tiers=tiers)
        )
        arms = {**CONTROL, "model": "general"}, {**QUIET, "model": "big"}
        begin(gateway, *arms, domain="general")
        assert gateway.chat(TEXT, model="general").json()["model"] == "tiny"
        rows = {row["standing"]: row for row in gateway.stored(2)}
        assert (rows["shadow"]["model"], rows["shadow"]["exposed"]) == ("big", True)
        assert rows["shadow"]["target"] == rows["assigned"]["target"] == "general"


def test_a_shadow_with_an_index_brings_its_own_passages(
    tmp_path: Path, artifacts: Path, encoder_folder: Path, engine: TwoFacedVllm
) -> None:
    shutil.copytree(artifacts, tmp_path / "two" / "artifacts")
    document = {"id": "new", "title": "Drips", "text": "A steam wand that drips needs a seal."}
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "documents.jsonl").write_text(json.dumps(document))
    turnout("docs", "ingest", f"{tmp_path}/new", "--domain", "espresso", state=tmp_path / "two")
    indexes = tmp_path / "two" / "artifacts" / "indexes"
    pointer = json.loads((indexes / "espresso" / "current.json").read_text())
    (old,) = pointer["history"]
    with running(tmp_path, indexes.parent, encoder_folder, engine) as gateway:
        begin(gateway, CONTROL, {**QUIET, "index": old})
        ask(gateway)
        rows = {row["standing"]: row for row in gateway.stored(2)}
    seen, shadow = rows["assigned"], rows["shadow"]
    assert (seen["index_version"], seen["sources"]) == (pointer["version"], ("new#0",))
    assert shadow["index_version"] == old and shadow["exposed"]
    assert shadow["sources"] and "new#0" not in shadow["sources"]
    assert document["text"] not in str(engine.shadows[0]["messages"])


def test_what_is_not_loaded_is_not_waited_for(gateway: Running, engine: TwoFacedVllm) -> None:
    engine.refuse_load = "told to"
    begin(gateway, CONTROL, {**QUIET, "model": gateway.adapter("espresso", seed=1)})
    ask(gateway)
    wait_counted(gateway, "dropped", 1)
    assert engine.shadows == []


def test_only_the_controls_share_is_mirrored(gateway: Running, engine: TwoFacedVllm) -> None:
    new = {"name": "new", "model": "base"}
    begin(gateway, CONTROL, new, {**QUIET, "shadow": 0.5}, salt="s", holdout=0.2)
    for number in range(30):
        ask(gateway, turnout={"session": f"s{number}"})
    assert gateway.chat("fail 400", model="espresso").status_code == 400
    seen = [row for row in gateway.stored(31) if row["standing"] != "shadow"]
    drawn = {
        row["id"]
        for row in seen
        if row["arm"] == "control"
        and row["outcome"] == "ok"
        and uniform("shadow", "s", "quiet", row["id"]) < 0.5
    }
    rows = gateway.stored(31 + len(drawn))
    assert {row["shadow_of"] for row in rows} - {None} == drawn
    assert 0 < len(drawn) < sum(row["arm"] == "control" for row in seen)
    assert {row["arm_propensity"] for row in rows if row["shadow_of"]} == {0.5}
    assert len(engine.shadows) == len(drawn)


def test_a_fallback_is_not_mirrored(gateway: Running, engine: TwoFacedVllm) -> None:
    gateway.champion("espresso", seed=1)
    engine.refuse_load = "told to"
    begin(gateway, {**CONTROL, "model": gateway.adapter("espresso", seed=2)}, QUIET)
    ask(gateway)
    ask(gateway)
    assert [row["exposed"] for row in gateway.stored(2)] == [False, False]
    assert engine.shadows == [] and "turnout_shadow_requests_total{" not in gateway.metrics()


def test_what_was_recorded_can_be_compared(gateway: Running) -> None:
    begin(gateway, CONTROL, QUIET)
    for _ in range(3):
        ask(gateway)
    gateway.stored(6)
    entry = ExperimentBook(gateway.store, gateway.registry).entry("e")
    found = {reading.metric: reading for reading in compare(gateway.store, entry)}
    assert {(reading.pairs, reading.units) for reading in found.values()} == {(3, 1)}
    assert found["agreement"].shadow == 1.0 and found["completion_tokens"].difference == 0.0


@pytest.mark.parametrize(
    ("fate", "said"),
    [
        ("fail", "engine local answered 500"),
        ("refuse", "told to refuse"),
        ("cut", "the engine broke the connection"),
    ],
)
def test_a_shadow_that_fails_is_recorded_and_not_repeated(
    gateway: Running, engine: TwoFacedVllm, fate: str, said: str
) -> None:
    engine.fate = fate
    begin(gateway, CONTROL, QUIET)
    for _ in range(2):
        ask(gateway)
    wait_counted(gateway, "error", 2)
    shadows = [row for row in gateway.stored(4) if row["standing"] == "shadow"]
    assert [(row["outcome"], row["exposed"]) for row in shadows] == [("error", False)] * 2
    assert all(row["error"].startswith(said) for row in shadows)
    assert len(engine.shadows) == 2 and len({row["id"] for row in shadows}) == 2


def test_what_cannot_be_read_costs_no_one_anything(
    tmp_path: Path, artifacts: Path, encoder_folder: Path, engine: TwoFacedVllm
) -> None:
    engine.fate = "garbage"
    with limited(tmp_path, artifacts, encoder_folder, engine, 1) as gateway:
        begin(gateway, CONTROL, QUIET)
        ask(gateway)
        wait_for(lambda: len(engine.shadows) == 1, "the shadow to be asked")
        engine.fate = "answer"
        ask(gateway)
        wait_counted(gateway, "ok", 1)


def test_failing_shadows_do_not_take_a_replica_from_callers(
    tmp_path: Path, artifacts: Path, encoder_folder: Path, engine: TwoFacedVllm
) -> None:
    engine.fate = "fail"
    with ExitStack() as stack:
        urls = [stack.enter_context(serving(engine.app)) for _ in range(2)]
        gateway = stack.enter_context(
            running(tmp_path, artifacts, encoder_folder, engine, urls=urls)
        )
        wait_for(lambda: 'turnout_engine_up{engine="local"} 2.0' in gateway.metrics(), "both")
        names = [f"quiet{number}" for number in range(4)]  # more than open a circuit
        begin(gateway, CONTROL, *({**QUIET, "name": name} for name in names))
        first = ask(gateway, turnout={"session": "s1"})
        for name in names:
            wait_counted(gateway, "error", 1, name)
        second = ask(gateway, turnout={"session": "s1"})
        choices = [answer.headers["x-turnout-debug"] for answer in (first, second)]
        assert "choice=affinity" in choices[0] and choices[0] == choices[1]


@pytest.mark.parametrize("most", [0, 1])
def test_beyond_so_many_at_once_shadows_are_dropped(
    tmp_path: Path, artifacts: Path, encoder_folder: Path, engine: TwoFacedVllm, most: int
) -> None:
    engine.fate = "hang"
    with limited(tmp_path, artifacts, encoder_folder, engine, most) as gateway:
        begin(gateway, CONTROL, QUIET)
        for _ in range(4):
            ask(gateway)
        wait_counted(gateway, "dropped", 4 - most)
        assert len(engine.shadows) == most and len(gateway.stored(4)) == 4


def test_a_gateway_that_ends_gives_its_shadows_up(
    tmp_path: Path, artifacts: Path, encoder_folder: Path, engine: TwoFacedVllm
) -> None:
    engine.fate = "hang"
    with serving(engine.app) as url:
        with running(tmp_path, artifacts, encoder_folder, engine, urls=[url]) as gateway:
            begin(gateway, CONTROL, QUIET)
            ask(gateway)
            wait_for(lambda: len(engine.shadows) == 1, "the shadow to be asked")
            assert engine.cancelled == 0
        wait_for(lambda: engine.cancelled == 1, "the engine to be left", seconds=5)
