"""One try at a job of the queue, in a process of its own: what it takes in memory, or breaks, ends
with it.

    python -m training.service.attempt      (the worker's child)

It ends when its input does: the worker closed it, or is gone.
"""

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.json import decode

from adapters.artifacts import Artifacts
from adapters.errors import AdapterError, ArtifactsUnavailable, StoreUnavailable
from adapters.job import JobError, TrainingJob, TrainingRequest
from adapters.jobs import JobBook
from adapters.registry import Registry
from adapters.store import Store
from adapters.uploads import Uploads
from training.errors import DataError, EndpointError, Leaked, RunFailed, TooFewRows, TrainingError
from training.evaluation.gate import Verdict
from training.service.diary import Diary, Stopped
from training.service.queue import Queue

if TYPE_CHECKING:
    from training.learning.sft import SftSettings

logger = logging.getLogger(__name__)

TRY_LATER = os.EX_TEMPFAIL  # exit code: what it needs did not answer
_PATIENCE_SECONDS = 10.0  # to stop between two steps, before it is ended in the middle of one
_RESULT = "result.json"  # what `training.run` leaves last
_SETTLE_TRIES = 60
_SETTLE_PAUSE = 5.0

_FILE = "training_file"
_CODES: dict[type[Exception], tuple[str, str | None]] = {
    DataError: ("invalid_training_file", _FILE),
    TooFewRows: ("too_few_examples", _FILE),
    Leaked: ("evaluation_leaked", _FILE),
    RunFailed: ("training_failed", None),
    EndpointError: ("endpoint_failed", None),
    TrainingError: ("training_error", None),
    ModuleNotFoundError: ("training_not_installed", None),
    AdapterError: ("adapter_error", None),
}


class Places(Struct, frozen=True):
    """Where everything is, by URL and path, and what holds for every run; `folder` is where runs
    leave their traces."""

    store_url: str
    artifacts: str
    cache: str
    indexes: str
    folder: str
    base_model: str
    packs: tuple[str, ...]
    threads: int | None = None
    protect: tuple[str, ...] = ()
    encoder: str | None = None
    general: str | None = None
    general_share: float = 0.1
    grounded_share: float = 0.0
    opted_out: tuple[str, ...] = ()
    trial: dict[str, Any] = {}


class Order(Struct, frozen=True):
    """Which job, for which worker. `minutes` is the most that training may take."""

    job: str
    holder: str
    seconds: float
    places: Places
    minutes: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run that came to its end says in its folder."""

    version: str
    verdict: Verdict
    reason: str
    tokens: int

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Outcome":
        """From `Result.as_json()`."""
        last = document["training"]
        runs = [run for run in (last.get("before"), last) if run is not None]
        return cls(
            version=document["version"],
            verdict=Verdict(document["verdict"]),
            reason=document["reason"],
            tokens=round(sum(map(_tokens, runs))),
        )


def _tokens(run: dict[str, Any]) -> float:
    return float(run["tokens_per_second"] * run["rows"] / max(run["rows_per_second"], 1e-9))


def attempt(order: Order, store: Store, unwanted: Callable[[], bool]) -> None:
    """Run the job and settle it, unless it is stopped first.

    Raises:
        StoreUnavailable, ArtifactsUnavailable: another try may do.
    """
    queue = Queue(store, order.holder, order.seconds)
    book = JobBook(store)
    job = book.job(order.job)
    folder = Path(order.places.folder) / job.id
    diary = Diary(book, job.id, folder, unwanted)
    try:
        outcome = _before(folder) or _run(job, order, store, folder, diary)
    except Stopped:
        return
    except (StoreUnavailable, ArtifactsUnavailable):
        diary.write()
        raise
    except (TrainingError, AdapterError, ModuleNotFoundError) as exc:
        diary.write()
        error = _explained(exc)
        _settle(lambda: queue.fail(job.id, error))
        return
    diary.write()
    _settle(lambda: _close(queue, job.id, outcome))


def _run(job: TrainingJob, order: Order, store: Store, folder: Path, diary: Diary) -> Outcome:
    # Here, as it brings PyTorch: a machine without it can still say so.
    from training.curation.curate import Filters
    from training.evaluation.trial import TrialSettings
    from training.run import Job, run

    asked = job.request
    uploads = Uploads(store, order.places.artifacts, Path(order.places.cache))

    def fetched(upload: str | None) -> Path | None:
        return None if upload is None else uploads.path(uploads.upload(upload))

    registry = Registry(store, Artifacts(order.places.artifacts, Path(order.places.cache)))
    wanted = Job(
        domain=asked.domain,
        base_model=Path(order.places.base_model),
        folder=folder,
        packs=tuple(map(Path, order.places.packs)),
        data=fetched(asked.training_file),
        validation=fetched(asked.validation_file),
        from_log=asked.from_log,
        indexes=Path(order.places.indexes),
        encoder=None if order.places.encoder is None else Path(order.places.encoder),
        opted_out=order.places.opted_out,
        general=None if order.places.general is None else Path(order.places.general),
        filters=Filters(general_share=order.places.general_share),
        grounded_share=order.places.grounded_share,
        challenge=asked.challenge,
        resume=folder.exists(),
        threads=order.places.threads,
        settings=_settings(asked, order),
        trial=TrialSettings.of(order.places.trial, [Path(file) for file in order.places.protect]),
    )
    return Outcome.of(run(wanted, store, registry, diary).as_json())


def _settings(asked: TrainingRequest, order: Order) -> "SftSettings":
    from training.learning.sft import RATES, SftSettings  # PyTorch again

    settings = SftSettings(
        method=asked.method, seed=asked.seed, minutes=_shorter(asked.minutes, order.minutes)
    )
    rate = getattr(settings, RATES[asked.method]) * (asked.learning_rate_multiplier or 1.0)
    return replace(
        settings,
        epochs=asked.epochs or settings.epochs,
        batch_size=asked.batch_size or settings.batch_size,
        beta=asked.beta or settings.beta,
        **{RATES[asked.method]: rate},
    )


def _before(folder: Path) -> Outcome | None:
    """What an earlier try came to that was cut off before it could say so."""
    try:
        return Outcome.of(json.loads((folder / _RESULT).read_bytes()))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _close(queue: Queue, job: str, outcome: Outcome) -> None:
    if outcome.verdict is Verdict.PASS:
        queue.succeed(job, outcome.version, outcome.reason, outcome.tokens)
        return
    words = (
        f"{outcome.version} is registered but may not be served: "
        f"the gate says {outcome.verdict}, {outcome.reason}"
    )
    queue.fail(
        job,
        JobError(f"gate_{outcome.verdict}", words),
        version=outcome.version,
        verdict=str(outcome.verdict),
        trained_tokens=outcome.tokens,
    )


def _settle(act: Callable[[], object]) -> None:
    """Do it, through times when the store is down; what was trained is worth the wait."""
    for left in reversed(range(_SETTLE_TRIES)):
        try:
            act()
            return
        except StoreUnavailable as exc:
            if not left:
                raise
            logger.warning("the outcome waits for the store: %s", exc)
            time.sleep(_SETTLE_PAUSE)


def _explained(exc: Exception) -> JobError:
    code, param = next(found for kind, found in _CODES.items() if isinstance(exc, kind))
    message = str(exc)
    if isinstance(exc, ModuleNotFoundError):
        message = f"the worker's host lacks {exc.name}: pip install 'turnout[train]' there"
    return JobError(code, message, param)


def _shorter(first: float | None, second: float | None) -> float | None:
    return min((one for one in (first, second) if one is not None), default=None)


def _until_input_ends(ended: threading.Event) -> None:
    """Say when nobody wants the run any more, and end a process that does not listen."""
    while os.read(sys.stdin.fileno(), 4096):  # not its buffer, which the interpreter locks to exit
        pass
    ended.set()
    time.sleep(_PATIENCE_SECONDS)
    os._exit(0)


def main() -> None:
    """Work on the job that the first line of input names."""
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries talk, and nobody reads the pipe
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal: it is for the worker
    os.nice(19)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    order = decode(sys.stdin.buffer.readline(), type=Order)
    ended = threading.Event()
    threading.Thread(target=_until_input_ends, args=(ended,), daemon=True).start()
    try:
        store = Store(order.places.store_url)
        attempt(order, store, ended.is_set)
        store.close()
    except (StoreUnavailable, ArtifactsUnavailable) as exc:
        logger.warning("%s has to be tried again: %s", order.job, exc)
        sys.exit(TRY_LATER)


if __name__ == "__main__":
    main()
