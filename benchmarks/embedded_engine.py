"""Tokens per second of the embedded engine, alone and together, with and without adapters.

    python benchmarks/embedded_engine.py [--model DIR] [--rounds 5] [--tokens 64]

Starts `turnout engine` in a process of its own and asks over HTTP; plain `generate` runs in this
process. Every round measures each case once, one after the other, so that a busy neighbour slows
all of them; a ratio is the median of the rounds' ratios. Prints one JSON document.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from adapters.engines.embedded import default_model

BASE = "base"
ADAPTERS = ("a0", "a1", "a2", "a3")
PROMPT = "Write a long story about a railway signaller who could not sleep. " * 3
EXAMPLES = "A train stands at a red signal: brake. The signal turns green: go. " * 20
Cases = dict[str, Callable[[], float]]


@contextlib.contextmanager
def engine(model: Path, options: list[str]) -> Iterator[httpx2.Client]:
    """A running engine; options are those of `turnout engine`."""
    command = [sys.executable, "-m", "gateway", "engine", "--model", str(model), "--json"]
    naming = ["--served-model-name", BASE, "--port", "0"]
    with subprocess.Popen([*command, *naming, *options], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            url = json.loads(process.stdout.readline())["url"]
            with httpx2.Client(base_url=url, timeout=600) as client:
                yield client
        finally:
            process.terminate()


def make_adapters(model: Path, out: Path) -> None:
    """Four random adapters of rank 16 on all linear layers."""
    for seed, name in enumerate(ADAPTERS):
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        wrapped = get_peft_model(base, LoraConfig(r=16, target_modules="all-linear"))
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.02)
        wrapped.save_pretrained(out / name)


def over_http(
    client: httpx2.Client,
    models: list[str],
    tokens: int,
    text: str = PROMPT,
    *,
    alike: bool = False,
) -> float:
    """Tokens per second of one request to each model, all at once.

    No prompt begins as an earlier one does, nor as another one of this call if they are not
    `alike`.
    """
    counts: list[int] = []
    call = uuid.uuid4().hex

    def ask(number: int, model: str) -> None:
        prompt = f"{call} {text} {number}" if alike else f"{number} {call} {text}"
        body = {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
        }
        answer = client.post("/v1/chat/completions", json=body).raise_for_status()
        counts.append(answer.json()["usage"]["completion_tokens"])

    threads = [threading.Thread(target=ask, args=asked) for asked in enumerate(models)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - begun)


def by_generate(model: PreTrainedModel, prompt: torch.Tensor, tokens: int, threads: int) -> float:
    """Tokens per second of transformers' own loop."""
    torch.set_num_threads(threads)
    begun = time.perf_counter()
    out = model.generate(prompt, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
    return (out.shape[1] - prompt.shape[1]) / (time.perf_counter() - begun)


def measure(cases: Cases, rounds: int) -> dict[str, list[float]]:
    """Each case once a round, after one round that does not count."""
    for case in cases.values():
        case()
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds):
        for name, case in cases.items():
            rates[name].append(case())
        shown = {name: round(values[-1], 1) for name, values in rates.items()}
        print(f"round {number + 1}: {shown}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return rates


def summary(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 2),
        "min": round(min(values), 2),
        "max": round(max(values), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cache = Path("~/.cache/turnout/models/smollm2-135m").expanduser()
    parser.add_argument("--model", type=Path, default=cache, help="model folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64, help="length of each answer")
    parser.add_argument("--threads", type=int, help="of the engine (default: its own)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    model = default_model.prepare(arguments.model)
    rates = run(model, arguments.rounds, arguments.tokens, arguments.threads)
    report: dict[str, Any] = {
        "tokens_per_second": {name: summary(values) for name, values in rates.items()},
        "ratios": {
            f"{above}_over_{below}": summary(
                [a / b for a, b in zip(rates[above], rates[below], strict=True)]
            )
            for above, below in (
                ("base_8", "base_1"),
                ("four_adapters_8", "adapter_1"),
                ("examples_alike_8", "examples_8"),
                ("base_1", "generate"),
                ("base_1", "generate_one_thread"),
            )
        },
        "rounds": arguments.rounds,
        "tokens": arguments.tokens,
        "processors": len(os.sched_getaffinity(0)),
        "load": os.getloadavg(),
    }
    print(json.dumps(report, indent=2))


def run(model: Path, rounds: int, tokens: int, threads: int | None) -> dict[str, list[float]]:
    """Prepare all cases and measure them."""
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    messages = [{"role": "user", "content": PROMPT}]
    prompt = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    processors = len(os.sched_getaffinity(0))
    options = [] if threads is None else ["--threads", str(threads)]
    with tempfile.TemporaryDirectory() as folder, engine(model, options) as client:
        make_adapters(model, Path(folder))
        for name in ADAPTERS:
            body = {"lora_name": name, "lora_path": f"{folder}/{name}"}
            client.post("/v1/load_lora_adapter", json=body).raise_for_status()
        cases: Cases = {
            "generate": lambda: by_generate(plain, prompt, tokens, processors),
            "generate_one_thread": lambda: by_generate(plain, prompt, tokens, 1),
            "base_1": lambda: over_http(client, [BASE], tokens),
            "base_8": lambda: over_http(client, [BASE] * 8, tokens),
            "adapter_1": lambda: over_http(client, [ADAPTERS[0]], tokens),
            "four_adapters_8": lambda: over_http(client, list(ADAPTERS) * 2, tokens),
            "examples_8": lambda: over_http(client, [BASE] * 8, 4, EXAMPLES),
            "examples_alike_8": lambda: over_http(client, [BASE] * 8, 4, EXAMPLES, alike=True),
        }
        return measure(cases, rounds)


if __name__ == "__main__":
    main()
