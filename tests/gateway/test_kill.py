"""`kill -9` of a serving gateway: no interaction whose answer a caller had is missing."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2

from adapters import tables
from adapters.store import Store
from tests.conftest import ROOT
from tests.fakes.vllm import FakeVllm
from tests.gateway.harness import HEADERS, KEY
from tests.serving import free_socket, serving, wait_for

REQUESTS = 1_000
CONFIG = """
[[engines]]
name = "local"
urls = ["{engine}"]
model = "tiny"

[[targets]]
name = "general"
engine = "local"
"""


@contextmanager
def gateway_process(config: Path, state: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`turnout serve` as a process of its own, ready to answer."""
    command = [sys.executable, "-m", "gateway", "serve", "--port", str(port), "--admin-port", "0"]
    process = subprocess.Popen(
        [*command, "--config", str(config), "--state", str(state)],
        cwd=ROOT,
        env={**os.environ, "TURNOUT_BOOTSTRAP_KEY": KEY},
    )
    try:
        wait_for(lambda: _ready(port), "the gateway to be ready", 60)
        yield process
    finally:
        process.kill()
        process.wait()


def _ready(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx2.HTTPError:
        return False


def acknowledged(port: int, count: int, stream: bool) -> list[str]:
    """Receipts of the answers that arrived whole; a connection that breaks acknowledges nothing."""

    def ask(number: int) -> str | None:
        messages = [{"role": "user", "content": f"say {number}"}]
        body = {"model": "general", "messages": messages, "stream": stream}
        try:
            answer = client.post("/v1/chat/completions", json=body)
        except httpx2.HTTPError:
            return None
        if stream:
            whole = "data: [DONE]" in answer.text
            return answer.text.split('"id": "')[1].split('"')[0] if whole else None
        return str(answer.json()["id"])

    url = f"http://127.0.0.1:{port}"
    with (
        httpx2.Client(base_url=url, headers=HEADERS, timeout=30) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        return [receipt for receipt in pool.map(ask, range(count)) if receipt]


def test_nothing_acknowledged_is_lost(tmp_path: Path, encoder_folder: Path) -> None:
    state, config = tmp_path / "state", tmp_path / "turnout.toml"
    with free_socket() as reserved:
        port = reserved.getsockname()[1]
    with serving(FakeVllm().app) as engine, ThreadPoolExecutor(1) as aside:
        config.write_text(CONFIG.format(engine=engine))
        with gateway_process(config, state, port) as first:
            before = acknowledged(port, REQUESTS // 4, stream=False)
            during = aside.submit(acknowledged, port, REQUESTS, True)
            wait_for(lambda: _records(state) > REQUESTS // 3, "half of the requests")
            first.send_signal(signal.SIGKILL)
            cut_off = during.result()
        with gateway_process(config, state, port):
            rest = acknowledged(port, REQUESTS - len(before) - len(cut_off), stream=False)
            receipts = {*before, *cut_off, *rest}
            assert len(receipts) == REQUESTS
            store = Store(f"sqlite:///{state}/turnout.db")
            wait_for(lambda: store.count(tables.interactions) >= REQUESTS, "the journal to drain")
            stored = {judged.interaction.id for judged in store.judged()}
            store.close()
    assert receipts - stored == set(), "acknowledged and missing"
    shutil.rmtree(state)


def _records(state: Path) -> int:
    """How many interactions reached journal or store so far; enough to know when to strike."""
    lines = sum(path.read_bytes().count(b"\n") for path in (state / "journal").glob("*.jsonl"))
    return lines
