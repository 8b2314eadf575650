"""What the verbs of `turnout bench` share: options, the progress bar, an end that stops servers."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.gateway.tools import HOME
from benchmarks.swap.servers import VLLM_PYTHON

Option = Callable[[Any], Any]
Reader = Callable[[click.Context, click.Parameter, str], tuple[str, ...]]


def names(*known: str) -> Reader:
    """A callback that reads a list of known names."""

    def read(_ctx: click.Context, _option: click.Parameter, value: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
        if unknown := set(found) - set(known):
            raise click.BadParameter(f"{', '.join(sorted(unknown))}; known are {', '.join(known)}")
        return found

    return read


def seconds(default: float, what: str) -> Option:
    """How long each load lasts."""
    return click.option(
        "--seconds",
        type=click.FloatRange(0.2, 600),
        default=default,
        show_default=True,
        help=f"Of each {what}, after its warm-up.",
    )


def home(what: str) -> Option:
    """Where a benchmark keeps what it installs or makes."""
    return click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        default=HOME,
        show_default=True,
        help=f"Where {what}.",
    )


def data(holds: str) -> Option:
    """Where the shared data lies."""
    return click.option(
        "--data",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        envvar="TURNOUT_DATA",
        default="../shared/data",
        show_default="TURNOUT_DATA, or ../shared/data",
        help=f"Holds {holds}.",
    )


def vllm() -> Option:
    """Which vLLM is started."""
    return click.option(
        "--vllm",
        "python",
        type=click.Path(path_type=Path),
        default=VLLM_PYTHON,
        help="Python of the environment with vLLM [default: that of `make setup-vllm`].",
    )


def plot(what: str) -> Option:
    """A picture beside the figures."""
    return click.option(
        "--plot",
        type=click.Path(dir_okay=False, writable=True, path_type=Path),
        help=f"Also draw {what}, as SVG, to this file.",
    )


def steps() -> Progress:
    """A bar that counts steps."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )


def stop_servers_when_told() -> None:
    """End by an exit, which unlike the signal's default stops the servers that were started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
