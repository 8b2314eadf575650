"""What `turnout bench clients` insists on: our client passes, and bad ones are found out."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks.clients import aiohttp_client
from benchmarks.clients.checks import CHECKS
from benchmarks.clients.client import ClientFailed, client_class
from benchmarks.clients.environment import certificates
from benchmarks.clients.expect import Bench, Wrong
from benchmarks.clients.run import Report, Turn
from benchmarks.gateway.questions import write_bodies
from benchmarks.gateway.tools import BASE_MODEL, Tools
from tests.conftest import ROOT


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates(tmp_path_factory.mktemp("tls"))


def verdict(check: str, bench: Bench) -> str:
    async def story() -> str:
        try:
            async with asyncio.timeout(30):
                return await CHECKS[check](bench)
        finally:
            await bench.close()
            await asyncio.sleep(0.01)  # connections that were cut are gone

    return asyncio.run(story())


@pytest.mark.parametrize("check", CHECKS)
def test_our_client_passes(check: str, tls: Path) -> None:
    assert verdict(check, Bench(client_class("turnout"), tls))


class Naive:
    """Takes whatever comes until the connection ends for the answer, and never keeps one."""

    def __init__(self, cafile: str | None = None) -> None:
        pass

    async def whole(self, url: str, body: bytes) -> tuple[int, bytes]:
        return 200, b"".join([piece async for piece in self.stream(url, body)])

    async def stream(self, url: str, body: bytes) -> AsyncGenerator[bytes, None]:
        address = urlsplit(url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            writer.write(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            await reader.readuntil(b"\r\n\r\n")
            while piece := await reader.read(65536):
                yield piece
        except (OSError, asyncio.IncompleteReadError) as exc:
            raise ClientFailed(repr(exc)) from exc
        finally:
            writer.close()

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("check", ["answer cut short", "garbage"])
def test_who_takes_anything_for_an_answer_is_found_out(check: str, tls: Path) -> None:
    with pytest.raises(Wrong):
        verdict(check, Bench(Naive, tls))


class Clinging(aiohttp_client.Client):
    """Goes on waiting for what nobody wants any more."""

    async def whole(self, url: str, body: bytes) -> tuple[int, bytes]:
        return await asyncio.shield(super().whole(url, body))


def test_who_goes_on_after_a_cancellation_is_found_out(tls: Path) -> None:
    bench = Bench(Clinging, tls)
    with pytest.raises((Wrong, TimeoutError)):
        verdict("cancelled while waiting", bench)


@pytest.mark.parametrize("name", ["turnout", "aiohttp"])
@pytest.mark.parametrize("kind", ["whole", "streams"])
def test_a_load_in_a_process_of_its_own(name: str, kind: str, tmp_path: Path) -> None:
    bodies = write_bodies(
        tmp_path / "bodies.jsonl", lambda q: q.body(BASE_MODEL), stream=kind == "streams"
    )
    with Tools.build(tmp_path / "tools").upstream("0:0:1", events=8) as (port,):
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        load = ["load", url, str(bodies), "4", "0.3", kind]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.clients.subject", name, *load],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    found = json.loads(done.stdout)
    assert found["per_second"] > 10
    assert 1 < found["microseconds"] < 100_000


def test_ratios_are_of_the_same_round() -> None:
    ours = [Turn(100, 10, 1_000, 5), Turn(300, 10, 1_000, 5), Turn(200, 10, 1_000, 5)]
    theirs = [Turn(100, 20, 1_000, 10), Turn(100, 40, 1_000, 10), Turn(100, 80, 1_000, 10)]
    report = Report(
        checks={"tls": {"turnout": {"ok": True, "said": ""}, "aiohttp": {"ok": False, "said": ""}}},
        turns={"turnout": ours, "aiohttp": theirs},
        errors={"pyreqwest": "cannot be made"},
    )
    found = report.as_json()
    ratio = found["ratios"]["over_aiohttp"]
    assert ratio["rps"] == {"median": 2.0, "least": 1.0, "most": 3.0}
    assert ratio["us_per_request"] == {"median": 0.25, "least": 0.125, "most": 0.5}
    assert found["rows"][-1] == {"client": "pyreqwest", "error": "cannot be made"}
    assert report.ok, "others may fail"
