"""How vLLM itself answers what our engine client relies on (adapters/engines/client.py)."""

import json
import re
import shutil
from pathlib import Path

import httpx2
import pytest

from benchmarks.swap.servers import SERVED_NAME
from tests.vllm.conftest import Real

QUESTION = [{"role": "user", "content": "How often should I backflush?"}]


def load(engine: httpx2.Client, name: str, path: object) -> httpx2.Response:
    return engine.post("/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(path)})


def unload(engine: httpx2.Client, name: str) -> httpx2.Response:
    return engine.post("/v1/unload_lora_adapter", json={"lora_name": name})


def error(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["message"]


def test_loaded_is_listed_with_its_folder_and_base(real: Real, folder: Path) -> None:
    with real.engine() as engine:
        cards = {card["id"]: card for card in engine.get("/v1/models").json()["data"]}
        adapter = cards[real.versions[0]]
        assert (adapter["root"], adapter["parent"]) == (str(folder), SERVED_NAME)
        assert cards[SERVED_NAME]["parent"] is None


def test_loading_twice_and_unloading_twice(real: Real, folder: Path) -> None:
    """Under a name of our own: the gateway leaves alone what it does not know."""
    with real.engine() as engine:
        first = load(engine, "twice", folder)
        assert first.status_code == 200 and first.text.startswith("Success")
        status, message = error(load(engine, "twice", folder))
        assert status == 400 and "already been loaded" in message
        assert unload(engine, "twice").status_code == 200
        status, message = error(unload(engine, "twice"))
        assert status == 404 and "cannot be found" in message


@pytest.mark.parametrize("path", ["/nowhere/at/all", "someone/some-lora"])
def test_what_is_not_there_is_not_fetched(real: Real, path: str) -> None:
    with real.engine() as engine:
        assert error(load(engine, "absent", path)) == (
            404,
            f"Loading lora absent failed: No adapter found for {path}",
        )


def test_a_rank_above_the_limit_is_an_engine_error(
    real: Real, folder: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    shutil.copytree(folder, large)
    config = json.loads((large / "adapter_config.json").read_text())
    (large / "adapter_config.json").write_text(json.dumps({**config, "r": 32}))
    with real.engine() as engine:
        status, message = error(load(engine, "large", large))
        assert status == 500 and "rank 32 is greater than max_lora_rank 16" in message
        listed = [card["id"] for card in engine.get("/v1/models").json()["data"]]
        assert "large" not in listed


def test_an_unknown_model_names_the_parameter(real: Real) -> None:
    with real.engine() as engine:
        body = {"model": "nobody", "messages": QUESTION, "max_tokens": 1}
        answer = engine.post("/v1/chat/completions", json=body)
        assert answer.status_code == 404
        assert answer.json()["error"]["param"] == "model"


def test_metrics_we_read(real: Real) -> None:
    """Requests running and waiting as plain numbers; adapters at work as labels."""
    with real.engine() as engine:
        # An adapter that is done within one step is not seen.
        limits = {"max_tokens": 16, "min_tokens": 16}
        body = {"model": real.versions[0], "messages": QUESTION, **limits}
        assert engine.post("/v1/chat/completions", json=body).status_code == 200
        metrics = engine.get("/metrics").text
    for name in ("vllm:num_requests_running", "vllm:num_requests_waiting"):
        assert re.search(rf"^{name}{{[^}}]*}} [0-9.e+]+$", metrics, re.MULTILINE), name
    labels = re.findall(r"^vllm:lora_requests_info{([^}]*)}", metrics, re.MULTILINE)
    assert any(f'running_lora_adapters="{real.versions[0]}"' in found for found in labels)
    assert all('waiting_lora_adapters="' in found for found in labels)
