"""Gateways of others, each installed once into an environment of its own and configured for one
mock upstream. Versions are pinned: a figure belongs to a version."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.gateway.contender import KEY, Contender, Surroundings
from benchmarks.gateway.questions import Body, Question
from benchmarks.gateway.tools import BASE_MODEL, HERE
from benchmarks.installed import NotInstalled, node_packages, python_environment
from benchmarks.swap.servers import free_port


class Nginx(Contender):
    """A reverse proxy with a key check: what relaying costs in C."""

    name = "nginx"
    health = "/nginx-health"

    def __init__(self, home: Path) -> None:
        self._home = home

    def prepare(self) -> None:
        if shutil.which("nginx", path=_PATH) is None:
            raise NotInstalled("nginx is not here: apt-get install nginx")

    def command(self, port: int, around: Surroundings) -> list[str]:
        config = around.folder / "nginx.conf"
        servers = " ".join(f"server 127.0.0.1:{up};" for up in around.upstreams)
        text = _NGINX.format(folder=around.folder, port=port, servers=servers, key=KEY)
        config.write_text(text, encoding="utf-8")
        return [str(shutil.which("nginx", path=_PATH)), "-c", str(config), "-e", "stderr"]


class PythonPeer(Contender):
    """A peer that comes as a Python package."""

    requirements: Sequence[str] = ()

    def __init__(self, home: Path) -> None:
        self._home = home / self.name

    def prepare(self) -> None:
        python_environment(self._home, self.requirements, self.name)

    def _bin(self, program: str) -> Path:
        return self._home / "bin" / program


class TensorZero(PythonPeer):
    """TensorZero's Rust server, as its Python client carries it; no observability, no auth."""

    name = "tensorzero"
    path = "/openai/v1/chat/completions"
    health = ""
    chooses_port = True
    requirements = ("tensorzero==2026.6.0",)

    def command(self, port: int, around: Surroundings) -> list[str]:
        config = around.folder / "tensorzero.toml"
        text = _TENSORZERO.format(model=BASE_MODEL, upstream=around.upstreams[0])
        config.write_text(text, encoding="utf-8")
        server = HERE / "tensorzero_server.py"
        return [str(self._bin("python")), str(server), str(config), str(around.folder / "port")]

    def environment(self, around: Surroundings) -> Mapping[str, str]:
        return {"RUST_LOG": "off"}

    def body(self, question: Question) -> Body:
        return question.body(f"tensorzero::model_name::{BASE_MODEL}")


class LiteLLM(PythonPeer):
    """LiteLLM's proxy with a master key and no database."""

    name = "litellm"
    health = "/health/liveliness"
    # The proxy imports OpenTelemetry without asking for it.
    requirements = (
        "litellm[proxy]==1.106.0",
        "opentelemetry-api",
        "opentelemetry-sdk",
        "opentelemetry-exporter-otlp",
    )

    def command(self, port: int, around: Surroundings) -> list[str]:
        config = around.folder / "litellm.yaml"
        text = _LITELLM.format(model=BASE_MODEL, upstream=around.upstreams[0], key=KEY)
        config.write_text(text, encoding="utf-8")
        options = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        return [str(self._bin("litellm")), "--config", str(config), *options]

    def environment(self, around: Surroundings) -> Mapping[str, str]:
        # Without these it looks for prices and news on the network at every start.
        return {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}


class VllmRouter(PythonPeer):
    """vLLM's Rust router; it checks no key."""

    name = "vllm-router"
    requirements = ("vllm-router==0.1.17",)

    def command(self, port: int, around: Surroundings) -> list[str]:
        workers = [f"http://127.0.0.1:{up}" for up in around.upstreams]
        options = ["--worker-urls", *workers, "--policy", "round_robin"]
        listen = ["--host", "127.0.0.1", "--port", str(port)]
        metrics = ["--prometheus-port", str(free_port()), "--log-level", "error"]
        return [str(self._bin("vllm-router")), *options, *listen, *metrics]


class Portkey(Contender):
    """Portkey's gateway on Node; the upstream is named in each request's headers."""

    name = "portkey"
    health = "/"
    # From 1.14 on, the server library makes its streams fail with "TypeError: immutable".
    requirements = ("@portkey-ai/gateway@1.15.2", "@hono/node-server@1.13.8", "hono@4.9.7")

    def __init__(self, home: Path) -> None:
        self._home = home / self.name
        self._upstream = 0

    def prepare(self) -> None:
        node_packages(self._home, self.requirements, self.name)

    def command(self, port: int, around: Surroundings) -> list[str]:
        self.headers = {
            "Authorization": f"Bearer {KEY}",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://127.0.0.1:{around.upstreams[0]}/v1",
        }
        package = self._home / "node_modules" / "@portkey-ai" / "gateway"
        start = package / "build" / "start-server.js"
        return [str(shutil.which("node")), str(start), f"--port={port}", "--headless"]

    def environment(self, around: Surroundings) -> Mapping[str, str]:
        return {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1", "NODE_ENV": "production"}


PEERS: Mapping[str, type[Nginx | PythonPeer | Portkey]] = {
    peer.name: peer for peer in (TensorZero, Nginx, LiteLLM, VllmRouter, Portkey)
}

# Debian keeps servers where an ordinary user's PATH does not look.
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))


_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.txt;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  map $http_authorization $known {{ default 0; "Bearer {key}" 1; }}
  upstream mock {{ {servers} keepalive 128; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location = /nginx-health {{ return 200; }}
    location / {{
      if ($known = 0) {{ return 401; }}
      proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""

_TENSORZERO = """
[gateway]
observability.enabled = false
[models.{model}]
routing = ["mock"]
[models.{model}.providers.mock]
type = "openai"
model_name = "{model}"
api_base = "http://127.0.0.1:{upstream}/v1/"
api_key_location = "none"
"""

_LITELLM = """
model_list:
  - model_name: {model}
    litellm_params:
      model: openai/{model}
      api_base: "http://127.0.0.1:{upstream}/v1"
      api_key: sk-upstream
general_settings:
  master_key: {key}
"""
