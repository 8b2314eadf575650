"""The whole system as a user starts it: `turnout up`, real engine, real training, one pass around
the loop."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from openai import OpenAI

from tests.conftest import ROOT
from tests.serving import free_socket, wait_for

# A trial of a minute: the whole one takes five where other work has half of the processor.
TRIAL = "\n[training.trial]\nrows = 20\nprompt_rows = 4\nprotected_rows = 8\n"
QUESTION = "How many times may I renew a book, and can I do it online?"


@dataclass(frozen=True)
class System:
    """A running `turnout up`."""

    url: str
    state: Path
    config: Path
    client: OpenAI

    def turnout(self, *arguments: str, check: bool = True) -> str:
        """Another `turnout` command on the same state; returns stdout."""
        places = ["--config", str(self.config), "--state", str(self.state)]
        command = [sys.executable, "-m", "gateway", *arguments, *places]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def system(
    tmp_path_factory: pytest.TempPathFactory, base_model: Path, encoder_folder: Path
) -> Iterator[System]:
    """`turnout up` on free ports, with the example packs."""
    folder = tmp_path_factory.mktemp("system")
    with free_socket() as a, free_socket() as b, free_socket() as c:
        public, admin, engine = (s.getsockname()[1] for s in (a, b, c))
    config = folder / "turnout.toml"
    text = (ROOT / "turnout.toml").read_text().replace(":8100", f":{engine}")
    config.write_text(text + TRIAL)
    state = folder / "state"
    command = ["up", "--no-train", "--port", str(public), "--admin-port", str(admin)]
    places = ["--config", str(config), "--state", str(state)]
    with (folder / "up.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", *command, *places], cwd=ROOT, stdout=log, stderr=log
        )
        try:
            url = f"http://127.0.0.1:{public}"
            wait_for(lambda: process.poll() is not None or _ready(url), "`turnout up`", 150)
            assert process.poll() is None, (folder / "up.log").read_text()
            key = (state / "development.key").read_text().strip()
            with OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
                yield System(url, state, config, client)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, "`turnout up` ends cleanly on SIGTERM"
    for child in _children_ports((public, admin, engine)):
        pytest.fail(f"something still listens on {child}")


def _ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz").status_code == 200
    except httpx2.HTTPError:
        return False


def _children_ports(ports: tuple[int, ...]) -> list[int]:
    """Ports of ours that still answer."""
    found = []
    for port in ports:
        try:
            httpx2.get(f"http://127.0.0.1:{port}/health")
            found.append(port)
        except httpx2.ConnectError:
            pass
    return found


@pytest.mark.timeout(900)
def test_the_loop_closes(system: System) -> None:
    """Ask, be routed and grounded, correct the answer, train on the correction, serve, roll
    back."""
    raw = system.client.chat.completions.with_raw_response.create(
        model="auto", max_tokens=24, messages=[{"role": "user", "content": QUESTION}]
    )
    first = raw.parse()
    assert raw.headers["x-turnout-route"] == "library"
    assert raw.headers["x-turnout-sources"]
    assert first.model == "smollm2-135m" and first.choices[0].message.content
    key = system.client.api_key
    corrected = httpx2.post(
        f"{system.url}/v1/feedback",
        headers={"Authorization": f"Bearer {key}"},
        json={
            "id": first.id,
            "metric": "correct",
            "value": False,
            "demonstration": "Twice, online.",
        },
    )
    assert corrected.status_code == 202

    wait_for(lambda: '"feedback":[{' in system.turnout("log", "export"), "the feedback")
    trained = json.loads(
        system.turnout("train", "library", "--from-log", "--minutes", "0.4", "--json", check=False)
    )
    version = trained["version"]
    assert version.startswith("library--v1-")
    assert trained["verdict"] in ("pass", "fail", "inconclusive")
    system.turnout("adapters", "verify", version)
    system.turnout("adapters", "promote", version, "--force", "--reason", "a test")

    def answering() -> str:
        answer = system.client.chat.completions.create(
            model="library", max_tokens=4, messages=[{"role": "user", "content": QUESTION}]
        )
        return answer.model

    wait_for(lambda: answering() == version, "the new version to answer", 60)
    stream = system.client.chat.completions.create(
        model=version, max_tokens=8, stream=True, messages=[{"role": "user", "content": QUESTION}]
    )
    chunks = list(stream)
    assert {chunk.model for chunk in chunks} == {version}
    system.turnout("adapters", "rollback", "library")
    wait_for(lambda: answering() == "smollm2-135m", "the base model to answer again", 60)


def _words(cmdline: Path) -> list[bytes]:
    """A process's command line; empty once it is gone."""
    try:
        return cmdline.read_bytes().split(b"\0")
    except OSError:
        return []


@pytest.mark.timeout(300)
def test_a_killed_gateway_comes_back_by_itself(system: System) -> None:
    gateways = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if {b"serve", str(system.state).encode()} <= set(_words(path))
    ]
    assert len(gateways) == 1
    os.kill(gateways[0], signal.SIGKILL)
    wait_for(lambda: not _ready(system.url), "the gateway to be gone")
    wait_for(lambda: _ready(system.url), "the gateway to come back", 60)
    answer = system.client.chat.completions.create(
        model="general", max_tokens=4, messages=[{"role": "user", "content": "Say hello."}]
    )
    assert answer.choices[0].message.content
