"""What `turnout bench flat` starts: gateways that really have much of something, and answer."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import pytest
from sqlalchemy import create_engine, inspect

from adapters import tables
from adapters.store import OnRecord, Store
from benchmarks.flat.disconnect import measure_disconnect
from benchmarks.flat.interactions import NoRoom, filled_store, insist_on_room
from benchmarks.flat.report import Growth, Report, Slice
from benchmarks.flat.run import running
from benchmarks.flat.sides import Workshop, dimensions
from benchmarks.gateway.prepared import opened
from benchmarks.gateway.tools import Tools
from gateway.access import KeyStore


def quiet(_what: object) -> None:
    """Nobody looks at the progress."""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path) -> Workshop:
    folder = tmp_path_factory.mktemp("flat")
    return Workshop(folder / "run", folder / "home", quiet)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    return Tools.build(tmp_path_factory.mktemp("tools"))


# As many as are enough to see that it is more than one; 17 replicas take two mocks.
MUCH = {
    "versions": 3,
    "experiments": 3,
    "keys": 5,
    "interactions": 2_000,
    "replicas": 17,
    "same": 1,
}


@pytest.mark.parametrize("name", dimensions(2_000))
def test_a_side_answers_and_keeps_its_record(name: str, workshop: Workshop, tools: Tools) -> None:
    side = dimensions(2_000)[name].make(workshop, name, MUCH[name])
    with running(side, tools, workshop.base) as gateway:
        turn = gateway.load(0.3)
        gateway.check()
        with urlopen(f"{gateway.process.url}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
    assert turn.rps > 10 and turn.us_per_request > 1
    with opened(side.state) as (store, registry):
        found = {
            "versions": len(registry.versions()),
            "experiments": metrics.count('turnout_assignments_total{arm="new"'),
            "keys": len(KeyStore(store).keys()) - 1,  # the one that starts every gateway
            "interactions": store.count(tables.interactions) - gateway.answered,
            "replicas": side.replicas,
            "same": 1,
        }
    assert found[name] == MUCH[name]


def test_made_up_interactions_fit_the_schema(tmp_path: Path) -> None:
    seen: list[int] = []
    path = filled_store(tmp_path, 3_000, seen.append)
    assert seen == [3_000]
    assert filled_store(tmp_path, 3_000, seen.append) == path
    assert seen == [3_000], "made once"
    store = Store(f"sqlite:///{path}")
    assert store.count(tables.interactions) == 3_000
    assert store.on_record(first_id(path)) == OnRecord()
    store.close()
    engine = create_engine(f"sqlite:///{path}")
    found = {index["name"] for index in inspect(engine).get_indexes("interactions")}
    engine.dispose()
    assert found >= {index.name for index in tables.interactions.indexes}


def first_id(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT min(id) FROM interactions").fetchone()[0])


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(NoRoom, match=r"need .* GB at .*--interactions"):
        insist_on_room(tmp_path, 10**13)
    with pytest.raises(NoRoom):
        filled_store(tmp_path, 10**13, quiet)
    assert list((tmp_path / "interactions").iterdir()) == []


def test_growth_is_judged_by_the_middle_round() -> None:
    little = [Slice(1_000, 100)] * 5
    much = [Slice(rps, 110) for rps in (100, 940, 960, 970, 5_000)]
    kept = Growth((1, 10), little, much, (0.01, 0.05), (100, 101), (1, 2))
    row = kept.as_json()
    assert row["ratio"] == {
        "median": 0.96,
        "lower": 0.94,
        "upper": 0.97,
        "least": 0.1,
        "most": 5.0,
    }
    assert row["cost_ratio"]["median"] == 1.1
    assert row["kept"] and Report({"keys": kept}).ok
    lost = Growth((1, 10), little, [Slice(940, 110)] * 5)
    assert not Report({"keys": lost}).ok
    assert not Report({"keys": kept}, {"versions": "did not start"}).ok


def test_callers_take_turns(tools: Tools, tmp_path: Path) -> None:
    """Against a server that says who asked: each header comes as often as the next."""
    callers = tmp_path / "callers.txt"
    callers.write_text("".join(f"x-caller: {n}\n" for n in range(7)))
    bodies = tmp_path / "bodies.jsonl"
    bodies.write_text('{"a": 1}\n{"b": 2}\n')
    with listening() as (port, seen):
        result = tools.run_load(
            port, "/", bodies, headers={}, callers=callers, connections=1, most=21, seconds=5
        )
    assert result.answered == 21
    # There are as many requests as callers; then they begin again.
    round_trip = [b'x-caller: %d {"%b": %d}' % (n, b"ab"[n % 2 :][:1], n % 2 + 1) for n in range(7)]
    assert seen == round_trip * 3


@contextmanager
def listening() -> Iterator[tuple[int, list[bytes]]]:
    """A port, and the requests that came to it, each as its head and body."""
    seen: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            seen.append(f"x-caller: {self.headers['x-caller']} ".encode() + body)
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Nobody looks at it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, seen
        server.shutdown()


def test_a_caller_who_leaves_is_noticed(tmp_path: Path, encoder_folder: Path) -> None:
    found = measure_disconnect(tmp_path / "run", times=3)
    assert found["waiting_ms"]["most"] < 1_000 and found["streaming_ms"]["most"] < 1_000
    assert found["slow_caller"]["sent_mb"] < 32 and found["slow_caller"]["gateway_grew_mb"] < 32
