"""An experiment's answers with their metrics as the analysis reads them, a row each, for people who
analyse it with tools of their own.

    python -m adapters.experiments.export       (the gateway's child, for its admin listener)
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf, isnan
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import msgspec
from msgspec import Struct

from adapters.checks import Check
from adapters.errors import AdapterError
from adapters.experiments.design import Experiment
from adapters.experiments.metrics import Look
from adapters.experiments.observations import Array
from adapters.experiments.reading import read_experiment
from adapters.exports import Export, Format, columns_of
from adapters.interactions import Outcome
from adapters.packs import checks_of
from adapters.store import Store

METRIC = "metric:"  # before a metric's name: some are called like another column


class Row(Struct):
    """What a row says beside the metrics, by the names that an interaction has for it."""

    id: str
    created: float
    experiment_unit: str | None
    session: str | None
    arm: str | None
    arm_propensity: float
    standing: str
    exposed: bool
    outcome: Outcome
    model: str
    first_token_ms: float | None
    total_ms: float
    prompt_tokens: int
    completion_tokens: int
    shadow_of: str | None


class Wanted(Struct, frozen=True):
    """What the child is asked for: an experiment by its fields, with the folders of the packs that
    may have its checks."""

    store_url: str
    design: dict[str, Any]
    until: float | None
    packs: tuple[str, ...]
    form: Format


def export(
    store: Store,
    experiment: Experiment,
    until: float | None,
    checks: Sequence[Check] = (),
    on_read: Callable[[], None] = lambda: None,
) -> Export:
    """Every answer of an experiment before `until` (`end_of` its entry), in the order of time;
    `on_read` is called for each before the first row comes, as what an answer counts depends on
    those after it.

    A metric is None where the analysis counts nothing: not said, outside its window or its unit's
    cap, not exposed, in no arm.
    """
    metrics = {f"{METRIC}{name}": float for name in experiment.measured}
    look = Look(experiment, checks)
    return Export({**columns_of(Row), **metrics}, _rows(store, look, until, on_read))


def _rows(
    store: Store, look: Look, until: float | None, on_read: Callable[[], None]
) -> Iterator[Mapping[str, Any]]:
    encode = msgspec.json.Encoder().encode
    # Beside the memory: only the metrics' numbers have to be known all at once.
    with TemporaryFile() as aside:
        with store.transaction() as connection:
            for answer, place in look.read(connection, inf if until is None else until):
                told = msgspec.convert(answer, Row, from_attributes=True)
                aside.write(encode((place, told)) + b"\n")
                on_read()
        metrics = {f"{METRIC}{name}": values for name, values in look.values().items()}
        nothing = dict.fromkeys(metrics)
        decode = msgspec.json.Decoder(tuple[int | None, dict[str, Any]]).decode
        aside.seek(0)
        for line in aside:
            place, row = decode(line)
            yield row | (nothing if place is None else _counted(metrics, place))


def _counted(metrics: Mapping[str, Array], place: int) -> dict[str, float | None]:
    found = ((name, float(values[place])) for name, values in metrics.items())
    return {name: None if isnan(value) else value for name, value in found}


def main() -> None:
    """Write what the line on stdin asks for to stdout."""
    os.nice(10)
    asked = msgspec.json.decode(sys.stdin.buffer.readline(), type=Wanted)
    experiment = read_experiment(asked.design)
    try:
        packs = map(Path, asked.packs)
        checks = checks_of(experiment.domain, packs) if experiment.checks else ()
        rows = export(Store(asked.store_url), experiment, asked.until, checks)
        rows.write(asked.form, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except (AdapterError, OSError) as exc:
        sys.exit(f"export of {experiment.name}: {exc}")


if __name__ == "__main__":
    main()
