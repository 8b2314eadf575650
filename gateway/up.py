"""Everything on one machine: `turnout up` prepares what is missing, runs engine and gateway, and
trains first adapters.

Each of them is a process of its own; this one only starts them, watches them and starts them again.
"""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from rich.console import Console

from adapters.packs import Pack
from adapters.registry import Registry
from adapters.store import Store
from gateway.access import KeyStore, Role
from gateway.configuration import ConfigurationError
from gateway.server import listen
from gateway.settings import Engine, Settings
from gateway.workspace import Workspace, reachable
from retrieval.versions import Pointer
from router.router import current_folder

_START_SECONDS = 120
_EXAMPLE = (
    '{"model": "auto", "max_tokens": 80, "messages": '
    '[{"role": "user", "content": "How often should I backflush?"}]}'
)


class Supervisor:
    """Runs the system until SIGINT or SIGTERM. `run` returns the exit code."""

    def __init__(self, workspace: Workspace, settings: Settings) -> None:
        self._workspace = workspace
        self._settings = settings
        self._console = Console(stderr=True)
        self._logs = settings.state / "logs"
        self._places = ["--state", str(settings.state)]
        if settings.config_file:
            self._places += ["--config", str(settings.config_file)]

    def run(self) -> int:
        self._check()
        encoder, base = self._workspace.encoder, self._workspace.base_model
        self._console.log(f"models ready: {base.name}, {encoder.name}")
        self._logs.mkdir(parents=True, exist_ok=True)
        with asyncio.Runner() as runner:
            return runner.run(self._live(base))

    def _check(self) -> None:
        """Refuse what cannot work before anything is started."""
        if not self._settings.engines:
            raise ConfigurationError(
                "no engines are configured: "
                "run this where a turnout.toml lies, or name one with --config"
            )
        for entry in self._settings.packs:
            Pack.load(entry.path)
        server = self._settings.server
        if server.port == 0:
            raise ConfigurationError("`turnout up` has to name its address: give a --port above 0")
        for port in (server.port, server.admin_port):
            listen(server.host, port).close()

    async def _live(self, base: Path) -> int:
        stop = asyncio.Event()
        for sign in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(sign, stop.set)
        key = self._development_key()
        children = [
            asyncio.create_task(self._keep(f"engine-{engine.name}", _engine_command(engine, base)))
            for engine in self._settings.engines
            if engine.kind == "embedded"
        ]
        work = asyncio.create_task(self._bring_up(key, children))
        ended = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((work, ended), return_when=asyncio.FIRST_COMPLETED)
            if work.done() and work.exception() is not None:
                self._console.log(str(work.exception()), style="red", markup=False)
                return 1
            await ended
            return 0
        finally:
            self._console.log("stopping")
            for task in (work, ended, *children):
                task.cancel()
            await asyncio.gather(work, ended, *children, return_exceptions=True)

    async def _bring_up(self, key: str, children: list[asyncio.Task[None]]) -> None:
        await self._fit_and_index()
        server = self._settings.server
        ports = ["--port", str(server.port), "--admin-port", str(server.admin_port)]
        workers = ["--workers", str(server.workers)]
        command = ["serve", "--host", server.host, *ports, *workers, *self._places]
        children.append(asyncio.create_task(self._keep("gateway", command)))
        await self._until_ready(children)
        if server.workers > 1:
            self._console.log(f"the gateway has {server.workers} workers")
        self._greet(key)
        if self._settings.training.automatic:
            for pack in self._untrained():
                await self._train(pack)
        if self._settings.training.worker:
            spare = ["--threads", str(_spare_threads())]
            command = ["jobs", "work", *spare, *self._places]
            children.append(asyncio.create_task(self._keep("training", command)))

    async def _fit_and_index(self) -> None:
        """Build what the first start lacks; later starts find it."""
        artifacts = self._settings.artifact_root
        for pack in [Pack.load(entry.path) for entry in self._settings.packs]:
            if pack.documents and Pointer.read(artifacts / "indexes" / pack.name) is None:
                self._console.log(f"indexing the documents of {pack.name}")
                await self._once(["docs", "ingest", str(pack.documents), "--domain", pack.name])
        if current_folder(artifacts / "router") is None and self._workspace.routing_examples():
            self._console.log("fitting the router")
            await self._once(["router", "fit"])

    async def _once(self, command: list[str]) -> None:
        log = self._logs / f"{command[0]}.log"
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                *_turnout(command), *self._places, stdout=out, stderr=out
            )
            try:
                code = await process.wait()
            finally:
                await _end(process)
        if code != 0:
            last = (log.read_text(errors="replace").strip().splitlines() or ["no message"])[-1]
            raise ConfigurationError(f"`turnout {' '.join(command)}` failed: {last}")

    async def _keep(self, name: str, command: Sequence[str]) -> None:
        """Run a process and start it again when it ends, with pauses from 1 to 30 s."""
        pause = 1
        while True:
            with (self._logs / f"{name}.log").open("ab") as out:
                process = await asyncio.create_subprocess_exec(
                    *_turnout(command), stdout=out, stderr=out
                )
                started = asyncio.get_running_loop().time()
                try:
                    code = await process.wait()
                finally:
                    await _end(process)
            lived = asyncio.get_running_loop().time() - started
            pause = 1 if lived > 60 else min(pause * 2, 30)
            self._console.log(
                f"[red]{name} ended with {code}[/red], again in {pause} s: "
                f"see {self._logs}/{name}.log"
            )
            await asyncio.sleep(pause)

    async def _until_ready(self, children: list[asyncio.Task[None]]) -> None:
        """Wait for `/readyz`; give up with a pointer to the logs."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _START_SECONDS
        async with aiohttp.ClientSession() as session:
            while loop.time() < deadline:
                try:
                    async with session.get(f"{self._url}/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass  # not listening yet
                await asyncio.sleep(0.2)
        raise ConfigurationError(
            f"not ready after {_START_SECONDS} s; the reason should be in {self._logs}"
        )

    @property
    def _url(self) -> str:
        server = self._settings.server
        return f"http://{reachable(server.host)}:{server.port}"

    def _development_key(self) -> str:
        """A key for trying things out, kept readable for its owner in the state folder."""
        path = self._workspace.development_key_file
        self._settings.state.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(f"sk-turnout-dev-{secrets.token_urlsafe(18)}\n")
        key = path.read_text().strip()
        KeyStore(Store(self._settings.store_url)).ensure("development", Role.ADMIN, key)
        return key

    def _greet(self, key: str) -> None:
        print(  # noqa: T201  # the one thing this command has to say on stdout
            f"\nTurnout is ready: {self._url}/v1\nkey: {key}\nlogs: {self._logs}\n\ntry:\n"
            f"curl -s {self._url}/v1/chat/completions -H 'Authorization: Bearer {key}' "
            f"-H 'Content-Type: application/json' -d '{_EXAMPLE}'\n",
            flush=True,
        )

    def _untrained(self) -> list[Pack]:
        """Packs with examples whose domain has no adapter version yet."""
        store = Store(self._settings.store_url)
        trained = {v.manifest.domain for v in Registry(store, self._settings.versions).versions()}
        packs = [Pack.load(entry.path) for entry in self._settings.packs]
        return [pack for pack in packs if pack.train and pack.name not in trained]

    async def _train(self, pack: Pack) -> None:
        """Train a first adapter beside the running system, with the lowest priority, and say what
        came of it."""
        self._console.log(
            f"training a first adapter for {pack.name}; the base model answers meanwhile"
        )
        minutes = str(self._settings.training.minutes)
        spare = str(_spare_threads())
        command = ["train", pack.name, "--promote", "--minutes", minutes, "--threads", spare]
        command += ["--json", *self._places]
        log = self._logs / f"train-{pack.name}.log"
        with log.open("ab") as err:
            process = await asyncio.create_subprocess_exec(
                "nice", "-n", "19", *_turnout(command), stdout=asyncio.subprocess.PIPE, stderr=err
            )
            try:
                out, _ = await process.communicate()
            finally:
                await _end(process)
        if process.returncode not in (0, 1) or not out:
            self._console.log(f"[red]training {pack.name} failed[/red]: see {log}")
            return
        self._tell(pack.name, orjson.loads(out))

    def _tell(self, domain: str, result: dict[str, Any]) -> None:
        """The outcome in the words that decide: scores on held-out rows, interval, verdict."""
        evaluation = result["evaluation"]
        base = evaluation["against"]["base"]
        low, high = base["ci95"]
        place = "promoted, it answers from now on" if result["promoted"] else "not promoted"
        self._console.log(
            f"{domain}: {result['version']} scores {evaluation['score']:.2f} on "
            f"{evaluation['n']} held-out rows, the base model {base['score']:.2f} "
            f"(difference {base['difference']:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}): "
            f"{result['verdict']}, {place}"
        )


def _engine_command(engine: Engine, base: Path) -> list[str]:
    host, _, port = engine.urls[0].removeprefix("http://").rstrip("/").partition(":")
    return [
        "engine",
        "--model",
        str(base),
        "--served-model-name",
        engine.model,
        "--host",
        host,
        "--port",
        port,
    ]


def _spare_threads() -> int:
    """Threads that share a processor with the engine's would wait for each other at every layer."""
    return max(1, (os.cpu_count() or 1) // 2)


def _turnout(command: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "gateway", *command]


async def _end(process: asyncio.subprocess.Process) -> None:
    """Stop a process that still runs: SIGTERM, and SIGKILL after 10 s."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(asyncio.shield(process.wait()), 10)
    except TimeoutError:
        process.kill()
        await process.wait()
