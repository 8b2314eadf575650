"""`server.workers`: real processes behind one address, with one `/metrics`; workers are killed,
supervisors too."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response

from adapters.manifest import config_hash
from adapters.registry import Registry
from adapters.store import Store
from gateway.configuration import load
from tests.adapters.folders import facts, write_adapter
from tests.conftest import ROOT
from tests.fakes.vllm import FakeVllm
from tests.gateway.harness import HEADERS, KEY, assert_error
from tests.serving import free_socket, serving, wait_for

# Nothing reaches the store by itself: what a worker answered is known to its journal alone.
CONFIG = """
[journal]
drain_seconds = 60

[[engines]]
name = "local"
urls = ["{engine}"]
model = "tiny"
max_loras = 2
max_cpu_loras = 4

[[targets]]
name = "general"
engine = "local"

[[packs]]
path = "{root}/examples/espresso"
engine = "local"
"""
# One connection for each request: the kernel chooses the worker when a connection is made.
ONE_EACH = {**HEADERS, "connection": "close"}


class CountingVllm(FakeVllm):
    """Counts what it is told to load and unload."""

    def __init__(self, root: str) -> None:
        super().__init__(root=root)
        self.told: Counter[tuple[str, str]] = Counter()

    async def load(self, request: Request) -> Response:
        self.told["load", (await request.json())["lora_name"]] += 1
        return await super().load(request)

    async def unload(self, request: Request) -> Response:
        self.told["unload", (await request.json())["lora_name"]] += 1
        return await super().unload(request)


@dataclass(frozen=True)
class Gateway:
    """A supervisor with its workers."""

    process: subprocess.Popen[bytes]
    port: int
    config: Path
    state: Path
    log: Path
    engine: CountingVllm
    http: httpx2.Client

    def workers(self) -> set[int]:
        """Process ids of the workers that serve now."""
        served = re.findall(r"serves \(process (\d+)\)", self.log.read_text())
        return {int(pid) for pid in served} & set(_children(self.process.pid))

    def ask(self, text: str = "hi", model: str = "general") -> httpx2.Response:
        messages = [{"role": "user", "content": text}]
        return self.http.post("/v1/chat/completions", json={"model": model, "messages": messages})

    def counted(self) -> float:
        """Requests by `/metrics` of whichever worker is asked."""
        text = self.http.get("/metrics").text
        return sum(map(float, re.findall(r"^turnout_requests_total\{.*\} (.+)$", text, re.M)))

    def settled(self) -> float:
        """The same, once every worker has told the others of what it counted."""
        time.sleep(1.2)
        return self.counted()

    def answers(self) -> Counter[int]:
        """Records in the journals, by the process that wrote them."""
        segments = (self.state / "journal").glob("*.jsonl")
        return Counter(
            {int(path.stem.split("-")[1]): path.read_bytes().count(b"\n") for path in segments}
        )

    def recorded(self) -> set[str]:
        """Receipts of every answer on record."""
        segments = (self.state / "journal").glob("*.jsonl")
        return {
            json.loads(line)["id"] for path in segments for line in path.read_text().splitlines()
        }


@contextmanager
def started(folder: Path, workers: int = 2) -> Iterator[Gateway]:
    """`turnout serve --workers N` with every worker serving, and an engine behind it."""
    root, log, config = folder / "base", folder / "log", folder / "turnout.toml"
    root.mkdir()
    (root / "config.json").write_text(json.dumps({"model_type": "tiny"}))
    engine = CountingVllm(str(root))
    with free_socket() as reserved:
        port = reserved.getsockname()[1]
    with serving(engine.app) as url:
        config.write_text(CONFIG.format(engine=url, root=ROOT))
        command = _serve(config, folder / "state", port, workers)
        with log.open("w") as out:
            process = subprocess.Popen(
                command, cwd=ROOT, env=_environment() | {"TMPDIR": str(folder)}, stderr=out
            )
        client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=ONE_EACH, timeout=30)
        with client as http:
            gateway = Gateway(process, port, config, folder / "state", log, engine, http)
            try:
                wait_for(lambda: len(gateway.workers()) == workers, log.read_text, 60)
                wait_for(lambda: http.get("/readyz").status_code == 200, "the engine to be seen")
                yield gateway
            finally:
                process.terminate()
                process.wait(60)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path) -> Iterator[Gateway]:
    """Two workers, for tests that leave two behind."""
    with started(tmp_path_factory.mktemp("workers")) as ready:
        yield ready


def test_connections_spread_and_every_worker_tells_of_all(gateway: Gateway) -> None:
    before, told_before = gateway.answers(), gateway.settled()
    with ThreadPoolExecutor(4) as pool:
        assert all(answer.is_success for answer in pool.map(lambda _: gateway.ask(), range(100)))
    shares = gateway.answers() - before
    assert shares.keys() == gateway.workers() and min(shares.values()) >= 25
    assert gateway.settled() == told_before + 100
    assert {gateway.counted() for _ in range(12)} == {told_before + 100}
    text = gateway.http.get("/metrics").text
    assert 'turnout_engine_up{engine="local"} 1.0' in text, "two workers see one engine"
    (pending,) = re.findall(r"^turnout_journal_pending (.+)$", text, re.M)
    assert float(pending) == sum(gateway.answers().values()), "each has a journal"


def test_feedback_finds_its_answer_at_any_worker(gateway: Gateway) -> None:
    receipts = [gateway.ask().json()["id"] for _ in range(3)]
    for receipt in receipts:
        for number in range(6):
            body = {"id": receipt, "metric": "thumb", "value": number}
            assert gateway.http.post("/v1/feedback", json=body).status_code == 202
    began = time.monotonic()
    for _ in range(4):
        unknown = gateway.http.post("/v1/feedback", json={**body, "id": "chatcmpl-none"})
        assert_error(unknown, 404, "unknown_receipt")
    assert time.monotonic() - began < 1, "nobody waits for what nobody has"


def test_workers_do_not_fight_over_an_engine(gateway: Gateway) -> None:
    store = Store(f"sqlite:///{gateway.state}/turnout.db")
    registry = Registry(store, load(gateway.config, {"state": gateway.state}).versions)
    base = config_hash(Path(gateway.engine.root))
    versions = [
        registry.publish(
            "espresso",
            write_adapter(gateway.state / f"staged-{seed}", seed=seed),
            facts("pass", base),
        ).version
        for seed in range(6)
    ]
    champion, *cold = versions
    registry.promote(champion, actor="test")
    store.close()
    wait_for(lambda: _models(gateway, "espresso") == {champion}, "every worker to serve it")
    wait_for(lambda: cold[-1] in gateway.http.get("/v1/models").text, "the catalog")
    time.sleep(1.1)
    for version in (*cold, *cold):  # five for the three places that the champion leaves
        assert _models(gateway, version) <= {version, champion}
    assert gateway.engine.told["load", champion] <= 2
    quiet = gateway.engine.told.copy()
    time.sleep(2.5)
    assert gateway.engine.told == quiet, "nobody asks, nobody loads"
    assert champion in gateway.engine.adapters and len(gateway.engine.adapters) <= 4
    assert all(gateway.ask(model="espresso").json()["model"] == champion for _ in range(10))


def _models(gateway: Gateway, model: str) -> set[str]:
    """Who answers, asked over several connections."""
    return {gateway.ask(model=model).json()["model"] for _ in range(6)}


def test_a_killed_worker_is_replaced_and_no_count_falls(gateway: Gateway) -> None:
    over, broken, told = threading.Event(), Counter[str](), [gateway.settled()]
    receipts: set[str] = set()

    def ask_on() -> None:
        while not over.wait(0.01):
            try:
                receipts.add(gateway.ask().json()["id"])
            except httpx2.HTTPError as exc:
                broken[type(exc).__name__] += 1

    def watch() -> None:
        while not over.wait(0.1):
            try:
                told.append(gateway.counted())
            except httpx2.HTTPError:
                pass  # it was with the worker that was killed

    victim, survivor = sorted(gateway.workers())
    began = time.monotonic()
    threads = [threading.Thread(target=target) for target in (ask_on, ask_on, ask_on, watch)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1.5)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: gateway.workers() - {victim, survivor}, "another worker", 60)
        (successor,) = gateway.workers() - {survivor}
        wait_for(lambda: gateway.answers()[successor] > 5, "it to take its share")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    seconds = time.monotonic() - began
    assert f"(process {victim}) ended after" in gateway.log.read_text()
    assert sum(broken.values()) <= 6, f"only what the victim had: {broken}"
    assert receipts <= gateway.recorded()
    told.append(gateway.settled())
    assert told == sorted(told), "a count fell"
    asked, lost = len(receipts) + sum(broken.values()), 1.5 * len(receipts) / seconds
    assert len(receipts) - lost <= told[-1] - told[0] <= asked


@pytest.mark.parametrize("workers", [1, 2])
def test_an_address_with_workers_is_taken(gateway: Gateway, tmp_path: Path, workers: int) -> None:
    done = _serve_to_the_end(gateway.config, tmp_path, gateway.port, workers)
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{gateway.port}" in done.stderr


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_supervisor(
    tmp_path: Path, encoder_folder: Path, sign: signal.Signals
) -> None:
    with started(tmp_path) as gateway, ThreadPoolExecutor(4) as pool:
        workers = gateway.workers()
        slow = [pool.submit(gateway.ask, "wait 1.5") for _ in range(4)]
        wait_for(lambda: len(gateway.engine.seen) == 4, "the engine to be asked")
        gateway.process.send_signal(sign)
        assert all(answer.result().status_code == 200 for answer in slow), "they get their time"
        wait_for(lambda: not any(_runs(worker) for worker in workers), "the workers to end")
        assert gateway.process.wait(5) == (0 if sign is signal.SIGTERM else -signal.SIGKILL)
    free_socket(gateway.port).close()


def test_what_cannot_serve_says_so_once(tmp_path: Path, encoder_folder: Path) -> None:
    config = tmp_path / "turnout.toml"
    config.write_text(CONFIG.format(engine="http://127.0.0.1:9", root=tmp_path / "nowhere"))
    done = _serve_to_the_end(config, tmp_path, 0, workers=3)
    assert done.returncode > 0
    assert done.stderr.count("PackError:") == 1 and "nowhere" in done.stderr
    assert done.stderr.count(") ended after") == 1


def test_starts_that_fail_again_and_again_end_it(tmp_path: Path) -> None:
    """Each worker serves once, is told to go, and cannot start again."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import pathlib, sys, time\n"
        "folder, number = sys.argv[-2:]\n"
        "once = pathlib.Path(folder, 'once-' + number)\n"
        "if once.exists(): sys.exit(7)\n"
        "once.touch(); pathlib.Path(folder, number + '.socket').touch(); time.sleep(0.5)\n"
    )
    command = [sys.executable, "-m", "gateway.workers", "2", sys.executable, str(script)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 7
    assert re.findall(r"worker 1 .* with (.+)", done.stderr)[:3] == [
        "exit code 0, again in 1 s",
        "exit code 7, again in 2 s",
        "exit code 7, again in 4 s",
    ]


def _serve(config: Path, state: Path, port: int, workers: int) -> list[str]:
    command = [sys.executable, "-m", "gateway", "serve", "--port", str(port), "--admin-port", "0"]
    return [*command, "--workers", str(workers), "--config", str(config), "--state", str(state)]


def _serve_to_the_end(
    config: Path, state: Path, port: int, workers: int
) -> subprocess.CompletedProcess[str]:
    command = _serve(config, state, port, workers)
    environment = _environment() | {"COLUMNS": "500"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "TURNOUT_BOOTSTRAP_KEY": KEY}


def _children(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _runs(pid: int) -> bool:
    """Whether a process is there and not a zombie that waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
