"""Mock and load of `turnout bench gateway` against each other, what its figures say, and that the
full pipeline under test is the full pipeline."""

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.gateway.contender import Answer, Surroundings, WrongRun
from benchmarks.gateway.measure import Figures
from benchmarks.gateway.prepared import ARMS, prepare, write_base
from benchmarks.gateway.questions import DOMAINS, GENERAL, questions, write_bodies
from benchmarks.gateway.report import Report
from benchmarks.gateway.tools import BASE_MODEL, LoadResult, Quantiles, Tools
from benchmarks.gateway.turnout_gateway import FullTurnout

CHAT = "/v1/chat/completions"
EVENTS = 8
# The role, the pieces, the finish reason, the usage.
EVENTS_OF_AN_ANSWER = EVENTS + 3


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    return Tools.build(tmp_path_factory.mktemp("tools"))


def load(
    tools: Tools,
    folder: Path,
    replica: str = "0",
    *,
    fail_every: int = 0,
    stream: bool = False,
    model: str = BASE_MODEL,
    streams: bool | None = None,
    **options: float,
) -> LoadResult:
    """Half a second of load straight at a mock."""
    bodies = write_bodies(folder / "bodies.jsonl", lambda q: q.body(model), stream=stream)
    with tools.upstream(replica, events=EVENTS, fail_every=fail_every) as (port,):
        return tools.run_load(
            port,
            CHAT,
            bodies,
            headers={},
            seconds=0.5,
            warm_up=0,
            streams=stream if streams is None else streams,
            **options,  # type: ignore[arg-type]  # mypy sees one type for all of them
        )


def test_closed_loop_waits_for_each_answer(tools: Tools, tmp_path: Path) -> None:
    result = load(tools, tmp_path, "0:20", connections=4)
    # Four connections, an answer every 20 ms on each: at most 200 a second.
    assert 4 <= result.answered <= 4 * 26
    assert result.latency.p50 >= 20
    assert result.wrong == {}


def test_open_loop_keeps_its_rate(tools: Tools, tmp_path: Path) -> None:
    result = load(tools, tmp_path, rate=200)
    assert result.answered == pytest.approx(100, abs=1)
    assert result.unsent == 0
    assert result.wrong == {}


def test_open_loop_counts_from_the_due_time(tools: Tools, tmp_path: Path) -> None:
    """One connection and 50 ms an answer, asked for 100 a second: the queue is part of latency."""
    result = load(tools, tmp_path, "0:50", rate=100, connections=1)
    assert result.answered == pytest.approx(50, abs=1)
    assert result.rps < 25
    # The last one was due after half a second and had 49 before it.
    assert result.latency.p99 > 49 * 50 - 500 - 100


def test_streams_are_counted_event_by_event(tools: Tools, tmp_path: Path) -> None:
    result = load(tools, tmp_path, "0:10:5", stream=True, connections=4)
    assert result.answered >= 4
    assert result.events == result.answered * EVENTS_OF_AN_ANSWER
    assert result.first_event.p50 >= 10
    assert result.latency.p50 >= 10 + 5 * EVENTS
    assert result.wrong == {}


def test_what_is_wrong_is_counted(tools: Tools, tmp_path: Path) -> None:
    failing = load(tools, tmp_path, fail_every=10, most=100)
    assert (failing.answered, failing.wrong) == (90, {"status": 10})
    unknown = load(tools, tmp_path, model="nobody", most=5)
    assert (unknown.answered, unknown.wrong) == (0, {"status": 5})
    no_stream = load(tools, tmp_path, streams=True, most=5)
    assert (no_stream.answered, no_stream.wrong) == (0, {"unfinished": 5})


def turn(rps: float, p50: float) -> Figures:
    return Figures(rps=rps, us_per_event=20, open={300: Quantiles(p50, 2 * p50)}, memory_mb=50)


def test_rows_are_medians_and_ratios_are_of_medians() -> None:
    report = Report(
        turns={
            ("turnout", "pass"): [turn(300, 1.5), turn(500, 1.3), turn(400, 1.4)],
            ("nginx", "pass"): [turn(1000, 0.5), turn(1000, 0.5), turn(1000, 0.5)],
        },
        direct=[turn(9000, 0.1)] * 3,
        errors={("portkey", "pass"): "portkey needs Node"},
    )
    found = json.loads(json.dumps(report.as_json()))
    ours, _, absent = found["rows"]
    assert (ours["gateway"], ours["mode"], ours["rps"]) == ("turnout", "pass", 400)
    assert ours["spread"]["rps"] == [300, 500]
    assert ours["added_ms"] == {"p50": 1.3, "p99": 2.6, "rate": 300}
    assert absent == {"gateway": "portkey", "mode": "pass", "error": "portkey needs Node"}
    assert found["ratios"] == {"pass_over_nginx": 0.4}
    assert found["ratios_spread"] == {"pass_over_nginx": [0.3, 0.5]}
    assert report.ok, "a peer that is absent fails nothing"


def test_the_full_pipeline_is_full(tools: Tools, tmp_path: Path, encoder_folder: Path) -> None:
    base = write_base(tmp_path / "base")
    contender = FullTurnout(lambda: prepare(tmp_path / "prepared", base), retrieval=False)
    contender.prepare()
    asked = questions()[:12]
    with tools.upstream("0", "0", root=base) as upstreams:
        around = Surroundings(upstreams, tmp_path)
        with contender.running(around) as running:
            answers = [contender.ask(running, question) for question in asked]
            bodies = write_bodies(tmp_path / "bodies.jsonl", contender.body, stream=True)
            streamed = tools.run_load(
                running.port, CHAT, bodies, headers=contender.headers, streams=True, most=120
            )
            contender.check(running, around, len(asked) + streamed.answered)
            with pytest.raises(WrongRun, match="interactions"):
                contender.check(running, around, 1)
    routes = Counter(answer.headers["x-turnout-route"] for answer in answers)
    assert set(routes) == {*DOMAINS, GENERAL}
    arms = {answer.headers["x-turnout-arm"] for answer in answers if not general(answer)}
    assert arms == set(ARMS)
    assert {answer.body["model"] for answer in answers if general(answer)} == {BASE_MODEL}
    assert streamed.answered == 120
    assert streamed.wrong == {}


def general(answer: Answer) -> bool:
    return bool(answer.headers["x-turnout-route"] == GENERAL)
