"""The phases of `turnout bench training`, one after the other."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from datasets import disable_progress_bars
from transformers.utils import logging

from benchmarks.training import report
from benchmarks.training.compare import compare
from benchmarks.training.plan import Plan
from benchmarks.training.plot import svg
from benchmarks.training.random_llama import TINY, random_llama
from benchmarks.training.share import measure_share
from benchmarks.training.speed import as_json, measure_throughput
from training.progress import Bar


def quicker(plan: Plan) -> Plan:
    """The same work on a tiny model with random weights and on few rows."""
    work = plan.work / "quick"
    return replace(
        plan,
        work=work,
        base=random_llama(work / "tiny", TINY, plan.base),
        rows=plan.rows or 60,
        epochs=1,
        general_rows=2,
        search_rows=16,
        speed_rows=16,
        rounds=1,
    )


def measure(
    plan: Plan, phases: tuple[str, ...], plot: Path | None
) -> tuple[dict[str, Any], list[str]]:
    """The phases' documents by name, and their tables; the domains' scores are drawn to `plot`."""
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    disable_progress_bars()
    torch.set_num_threads(plan.threads)
    found: dict[str, Any] = {}
    tables: list[str] = []
    with Bar() as bar:
        if "domains" in phases:
            compared = compare(plan, bar)
            found["domains"] = compared.as_json()
            tables.append(report.domains(compared))
            if plot is not None:
                plot.write_text(svg(compared), encoding="utf-8")
        if "share" in phases:
            shared = measure_share(plan, bar)
            tasks = {one.task: one.as_json() for one in shared}
            found["share"] = {"tasks": tasks, "ok": all(one.ok for one in shared)}
            tables.append(report.share(shared))
        if "throughput" in phases:
            measured = measure_throughput(plan, bar)
            found["throughput"] = as_json(measured, plan)
            tables.append(report.throughput(measured))
    return found, tables
