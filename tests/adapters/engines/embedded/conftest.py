"""The default model three times: as the engine loads it, in float32, and in PEFT itself."""

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from openai import OpenAI
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from adapters.engines.embedded.batcher import Batcher
from adapters.engines.embedded.model import LoadedModel
from adapters.engines.embedded.server import create_app
from tests.serving import serving

SERVED_NAME = "smollm2-135m"
ADAPTERS = {
    "plain": LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"),
    "rank-stabilised": LoraConfig(
        r=16, lora_alpha=16, target_modules="all-linear", use_rslora=True
    ),
    "some-layers": LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["q_proj", "v_proj"],
        rank_pattern={"layers.3.self_attn.q_proj": 8},
        alpha_pattern={"v_proj": 4},
    ),
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Compute threads that share processors with others wait for each other most of the time."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def adapters(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of random adapters, strong enough to change every answer."""
    root = tmp_path_factory.mktemp("adapters")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
        for seed, (name, config) in enumerate(ADAPTERS.items()):
            torch.manual_seed(seed)
            wrapped = get_peft_model(base, config)
            for parameter in wrapped.parameters():
                if parameter.requires_grad:
                    torch.nn.init.normal_(parameter, std=0.04)
            wrapped.save_pretrained(root / name)
            base = wrapped.unload()
    return {name: root / name for name in ADAPTERS}


@pytest.fixture(scope="session")
def reference(base_model: Path, adapters: dict[str, Path]) -> PeftModel:
    """The same weights in transformers and PEFT themselves, in float32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
        first, *others = adapters
        model = PeftModel.from_pretrained(base, adapters[first], adapter_name=first)
        for name in others:
            model.load_adapter(adapters[name], name)
    return model.eval()


@pytest.fixture(scope="session")
def exact(base_model: Path, adapters: dict[str, Path]) -> LoadedModel:
    """The model in float32, in which greedy answers have no ties; all adapters are loaded."""
    model = LoadedModel.load(base_model, dtype=torch.float32)
    for name, folder in adapters.items():
        model.load_adapter(name, folder)
    return model


@pytest.fixture(scope="session")
def batcher(base_model: Path) -> Batcher:
    """What the server below runs; small, so that tests can fill it."""
    return Batcher(LoadedModel.load(base_model, max_lora_rank=16), 4, 1024)


@pytest.fixture(scope="session")
def url(batcher: Batcher) -> Iterator[str]:
    """A running engine."""
    with serving(create_app(batcher, SERVED_NAME)) as address:
        yield address


@pytest.fixture
def http(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, timeout=120) as client:
        yield client


@pytest.fixture
def openai(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client


@pytest.fixture
def loaded(http: httpx2.Client, adapters: dict[str, Path]) -> Iterator[str]:
    """Name of an adapter that the engine has loaded."""
    name = "plain"
    body = {"lora_name": name, "lora_path": str(adapters[name])}
    http.post("/v1/load_lora_adapter", json=body).raise_for_status()
    yield name
    http.post("/v1/unload_lora_adapter", json={"lora_name": name})


class AdapterFolder:
    """A copy of an adapter that a test may damage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = folder / "adapter_model.safetensors"
        self.config = folder / "adapter_config.json"

    def set_options(self, **options: Any) -> None:
        self.config.write_text(json.dumps({**json.loads(self.config.read_text()), **options}))

    def change_tensors(self, change: Any) -> None:
        tensors = load_file(self.weights)
        change(tensors)
        save_file(tensors, self.weights)


@pytest.fixture
def copy(adapters: dict[str, Path], tmp_path: Path) -> AdapterFolder:
    return AdapterFolder(Path(shutil.copytree(adapters["plain"], tmp_path / "adapter")))
