"""A whole gateway under uvicorn in a thread, with a fake engine behind it and real router and
indexes."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from openai import OpenAI

from adapters.manifest import config_hash
from adapters.registry import Registry
from adapters.store import Store
from gateway.app import create_app
from gateway.settings import Settings
from tests.adapters.folders import facts, write_adapter
from tests.conftest import ROOT
from tests.fakes.vllm import FakeVllm
from tests.serving import free_socket, serving, wait_for

KEY = "sk-test-admin"
EXAMPLES = tuple(ROOT / "examples" / name for name in ("espresso", "library"))
HEADERS = {"Authorization": f"Bearer {KEY}"}


@dataclass(frozen=True)
class Running:
    """A gateway that answers, and everything a test may want to look at."""

    url: str
    admin_url: str
    http: httpx2.Client
    openai: OpenAI
    engine: FakeVllm
    store: Store
    registry: Registry
    settings: Settings
    reconfigure: Callable[..., None]

    def chat(self, text: str, model: str = "auto", **body: Any) -> httpx2.Response:
        """One chat request with a single user message."""
        messages = [{"role": "user", "content": text}]
        return self.http.post(
            "/v1/chat/completions", json={"model": model, "messages": messages, **body}
        )

    def admin(self, method: str, path: str, **options: Any) -> httpx2.Response:
        return self.http.request(method, f"{self.admin_url}/admin/v1{path}", **options)

    def metrics(self) -> str:
        return self.http.get("/metrics").text

    def adapter(self, domain: str, seed: int = 0, verdict: str = "pass") -> str:
        """Publish an adapter version for a domain; returns its name."""
        staged = write_adapter(self.settings.state / f"staged-{seed}", seed=seed)
        base = config_hash(Path(self.engine.root))
        return self.registry.publish(domain, staged, facts(verdict, base)).version

    def champion(self, domain: str, seed: int = 0, replicas: int = 1) -> str:
        """Publish and promote a version, and wait until it serves on so many replicas."""
        version = self.adapter(domain, seed)
        self.registry.promote(version, actor="test")
        self.wait_served(version, replicas)
        return version

    def wait_served(self, version: str, replicas: int = 1) -> None:
        """Wait until the gateway says that so many replicas serve this version."""
        ready = f'turnout_adapter_replicas{{state="ready",version="{version}"}} {replicas}.0'
        wait_for(lambda: ready in self.metrics(), f"{version} to be served")

    def stored(self, count: int = 1) -> list[dict[str, Any]]:
        """Interactions as the store has them, once there are `count`."""
        wait_for(lambda: len(list(self.store.judged())) >= count, f"{count} interactions")
        return [judged.interaction.to_record() for judged in self.store.judged()]


@contextlib.contextmanager
def running(
    folder: Path,
    artifacts: Path,
    encoder: Path,
    engine: FakeVllm,
    *,
    urls: Sequence[str] = (),
    limits: Mapping[str, Any] | None = None,
    tiers: Mapping[str, str] | None = None,
    packs: Sequence[Path] = EXAMPLES,
    **overrides: Any,
) -> Iterator[Running]:
    """Start engine and gateway with state in `folder`; `artifacts` are copied there.

    Args:
        urls: replicas that run already, in place of one with `engine`.
        limits: more settings of the engine.
        tiers: URLs of more general tiers, each an engine with a model of its name.
    """
    state = folder / "state"
    shutil.copytree(artifacts, state / "artifacts", dirs_exist_ok=True)
    with contextlib.ExitStack() as stack:
        replicas = list(urls) or [stack.enter_context(serving(engine.app))]
        stamp, extra = folder / "configuration", tiers or {}
        stamp.touch()

        def configured(urls: Sequence[str]) -> Settings:
            local = {"name": "local", "urls": urls, "model": engine.base, **(limits or {})}
            target = {"name": "general", "engine": "local", "price": {"input": 1, "output": 2}}
            more = [{"name": name, "urls": [url], "model": name} for name, url in extra.items()]
            return Settings(
                config_file=stamp,
                state=state,
                engines=[local, *more],
                targets=[target, *({"name": name, "engine": name} for name in extra)],
                packs=[{"path": path, "engine": "local"} for path in packs],
                aliases={"gpt-4o-mini": "auto"},
                bootstrap_key=KEY,
                **overrides,
            )

        settings = configured(replicas)

        def reconfigure(*urls: str) -> None:
            """Have the configuration file name other replicas."""
            replicas[:] = urls
            stamp.write_text(" ".join(urls))

        admin = free_socket()
        admin_port = admin.getsockname()[1]
        app = create_app(
            settings,
            encoder=encoder,
            admin_port=admin_port,
            reload=lambda: configured(tuple(replicas)),
        )
        with (
            serving(app, free_socket(), admin) as url,
            httpx2.Client(base_url=url, headers=HEADERS, timeout=30) as http,
            OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as openai,
        ):
            store = Store(settings.store_url)
            wait_for(lambda: http.get("/readyz").status_code == 200, "the engine to be seen")
            yield Running(
                url=url,
                admin_url=f"http://127.0.0.1:{admin_port}",
                http=http,
                openai=openai,
                engine=engine,
                store=store,
                registry=Registry(store, settings.versions),
                settings=settings,
                reconfigure=reconfigure,
            )
            store.close()


def assert_error(response: httpx2.Response, status: int, code: str | None = None) -> str:
    """Check status and the one error body; returns the message."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and error["message"]
    assert error["code"] is None or isinstance(error["code"], str)
    if code is not None:
        assert error["code"] == code
    return str(error["message"])
