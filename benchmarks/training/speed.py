"""The throughput phase: clauses with short and with long instructions, and on an accelerator a
model of a billion weights."""

from random import Random
from typing import Any

import torch

from benchmarks.training.domains import write_rows
from benchmarks.training.plan import Plan
from benchmarks.training.random_llama import ONE_BILLION, random_llama
from benchmarks.training.throughput import Throughput, Workload, measure
from training.learning.sft import SftSettings
from training.progress import Reporter
from training.rows import read_chat

TASK = "clause_type"
VALIDATION_ROWS = 32


def measure_throughput(plan: Plan, reporter: Reporter) -> list[Throughput]:
    """Both workloads on the base model, and once more on the large one if there is a GPU."""
    folder = plan.work / "throughput"
    short = _workload(plan)
    settings = SftSettings(epochs=1)
    bases = [plan.base]
    if torch.cuda.is_available():
        bases.append(random_llama(plan.work / "one-billion", ONE_BILLION, plan.base))
    return [
        measure(base, workload, settings, plan.rounds, folder / "run", reporter)
        for base in bases
        for workload in (short, short.with_labels())
    ]


def as_json(found: list[Throughput], plan: Plan) -> dict[str, Any]:
    """The phase's document."""
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": plan.threads,
        "rounds": plan.rounds,
        "rows": plan.speed_rows,
        "workloads": [{"name": one.workload, **one.as_json()} for one in found],
        "ok": all(one.ok for one in found),
    }


def _workload(plan: Plan) -> Workload:
    """Rows of the legal training file, drawn by chance."""
    file = plan.work / "throughput" / f"{TASK}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_rows(plan.data / "legal" / "train.jsonl", file, (TASK,))
    rows = read_chat(file)
    wanted = plan.speed_rows + VALIDATION_ROWS
    drawn = Random(0).sample(rows, min(wanted, len(rows)))
    return Workload(TASK, tuple(drawn[: plan.speed_rows]), tuple(drawn[plan.speed_rows :]))
