"""Learning on several Ray workers: Ray Train starts them, watches over them and replaces lost ones.

The base model and the run's folder have to be seen by every worker under the same paths, so a
cluster of several hosts needs a file system that they share. Knows nothing of what is learned.
"""

import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
import torch
from ray.exceptions import RayError
from ray.train import (
    FailureConfig,
    Result,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    WorkerGroupError,
)
from ray.train.torch import TorchTrainer

from training.curation.split import Split
from training.errors import RunFailed, TrainingError
from training.learning.checkpoints import clear
from training.learning.learn import ANSWERS, learn
from training.learning.sft import LOG, SftSettings
from training.learning.watch import Trained
from training.progress import Reporter, Silence

_LOOK_SECONDS = 0.5
_OBJECT_STORE_BYTES = 256 * 2**20  # rows and small messages; weights never pass through it
_LOOPBACK = "127.0.0.2"  # Ray takes 127.0.0.1 for the address by which others reach the host
# Of a cluster of our own: tells nobody of itself, and talks to itself alone.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "GLOO_SOCKET_IFNAME": "lo",
}


@dataclass(frozen=True, slots=True)
class _Task:
    """What every worker is told; paths are absolute."""

    base: Path
    parts: Split
    settings: SftSettings
    folder: Path
    threads: int


@dataclass(frozen=True, slots=True)
class RayLauncher:
    """Stands for `learn`, with its batches shared out to several workers.

    Args:
        address: of a running cluster; None starts one here for the time of the run.
        threads: processor threads of each worker.
        failures: how often workers may be lost; the others end, and all go on from the newest
            checkpoint.
    """

    workers: int
    address: str | None = None
    threads: int = 1
    failures: int = 3

    def __call__(
        self,
        base: Path,
        parts: Split,
        settings: SftSettings,
        folder: Path,
        reporter: Reporter,
        *,
        resume: bool = False,
    ) -> Trained:
        """As `learn`. Raises RunFailed also for a cluster that is too small or not there."""
        task = _Task(base.resolve(), parts, settings, folder.resolve(), self.threads)
        if not resume:
            clear(folder)
        # The cluster goes first: that ends the thread, should the reporter want no more of it.
        with (
            ThreadPoolExecutor(1) as pool,
            TemporaryDirectory(prefix="ray-", dir=task.folder) as notes,
            _cluster(self.address, self.workers * self.threads),
        ):
            fit = pool.submit(self._trainer(task, notes).fit)
            while not wait([fit], _LOOK_SECONDS).done:
                _report(folder, settings, reporter)
            outcome = _outcome(fit)
        if isinstance(outcome, TrainingError):
            raise outcome
        return outcome

    def _trainer(self, task: _Task, notes: str) -> TorchTrainer:
        return TorchTrainer(
            _work,  # type: ignore[arg-type]  # what it returns is kept
            train_loop_config={"task": task},
            scaling_config=self._scaling(),
            run_config=RunConfig(
                storage_path=notes, failure_config=FailureConfig(max_failures=self.failures)
            ),
        )

    def _scaling(self) -> ScalingConfig:
        have = ray.cluster_resources()  # type: ignore[no-untyped-call]
        processors, accelerators = int(have.get("CPU", 0)), int(have.get("GPU", 0))
        if processors < self.workers * self.threads:
            raise RunFailed(
                f"the Ray cluster has {processors} processors, {self.workers} workers of "
                f"{self.threads} need {self.workers * self.threads}: ask for fewer --workers"
            )
        return ScalingConfig(
            num_workers=self.workers,
            use_gpu=accelerators >= self.workers,
            resources_per_worker={"CPU": self.threads},
        )


@contextmanager
def _cluster(address: str | None, processors: int) -> Iterator[None]:
    """A connection to the cluster; one of our own ends with it."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    # Its sockets' paths must be short, so not in the run's folder.
    with (
        TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as scratch,
        _environment(_ENVIRONMENT if address is None else {}),
        redirect_stdout(sys.stderr),  # what Ray says of a lost worker is no part of a result
    ):
        try:
            if address is None:
                ray.init(
                    "local",
                    num_cpus=processors,
                    include_dashboard=False,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    _node_ip_address=_LOOPBACK,
                    _temp_dir=scratch,
                    **quiet,
                )
            else:
                ray.init(address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as exc:
            raise RunFailed(f"no Ray cluster at {address or 'this host'}: {exc}") from exc
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for as long as the context lasts; what is set already stays."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _work(config: dict[str, _Task]) -> Trained | TrainingError:
    """One worker. What goes wrong on all of them alike is returned: the next try would end so."""
    task = config["task"]
    for path in (task.base, task.folder):
        if not path.is_dir():
            raise RunFailed(
                f"the Ray worker on {socket.gethostname()} does not see {path}: keep the base "
                "model and the state folder on a file system that all hosts share"
            )
    torch.set_num_threads(task.threads)
    try:
        return learn(task.base, task.parts, task.settings, task.folder, Silence(), resume=True)
    except TrainingError as exc:
        return exc


def _outcome(fit: Future[Result]) -> Trained | TrainingError:
    try:
        outcome: Trained | TrainingError = fit.result().return_value  # type: ignore[attr-defined]
        return outcome
    except WorkerGroupError as exc:
        worker, cause = next(iter(exc.worker_failures.items()))
        return RunFailed(f"Ray worker {worker} failed too often, at last by {cause!r}")
    except (TrainingFailedError, RayError) as exc:
        return RunFailed(f"Ray could not run the workers: {exc}")


def _report(folder: Path, settings: SftSettings, reporter: Reporter) -> None:
    """Tell of the newest step that the first worker has logged."""
    logs = [log for log in (folder / LOG, folder / ANSWERS / LOG) if log.exists()]
    lines = logs[0].read_bytes().splitlines(keepends=True) if logs else []
    whole = [line for line in lines if line.endswith(b"\n")]
    if not whole:
        reporter.advance(0.0, 1.0, {})
        return
    step = json.loads(whole[-1])
    done = step["epoch"] / settings.epochs
    if settings.minutes is not None:
        done = max(done, step["seconds"] / (60 * settings.minutes))
    figures = {
        "loss": step.get("loss", step.get("validation_loss")),
        "tokens/s": step["tokens_per_second"],
        "rows/s": step["rows_per_second"],
    }
    reporter.advance(min(done, 1.0), 1.0, figures)
