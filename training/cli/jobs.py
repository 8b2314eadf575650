"""The verbs `turnout jobs …`: the queue of training jobs, and the worker that empties it."""

import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
from msgspec import to_builtins

from adapters.cli import as_json, show_table
from adapters.errors import AdapterError
from adapters.experiments.plan import Plan
from adapters.job import EventKind, TrainingJob, TrainingRequest
from adapters.jobs import JobBook
from adapters.packs import Pack
from adapters.registry import Registry
from adapters.store import Store
from training.cli.workspace import Workspace
from training.service.attempt import Places
from training.service.drift import DomainDrift
from training.service.succession import Succession
from training.service.triggers import Rules, Triggers
from training.service.worker import LEASE_SECONDS, Worker

ACTOR = "turnout jobs"
_MESSAGES = (EventKind.MESSAGE, EventKind.CHECKPOINT)


@click.group()
def jobs() -> None:
    """Training jobs: list, show, start, cancel, pause, resume, work."""


@contextmanager
def _book(workspace: Workspace) -> Iterator[JobBook]:
    store = Store(workspace.store_url)
    try:
        yield JobBook(store)
    except AdapterError as exc:
        raise click.ClickException(str(exc)) from exc
    finally:
        store.close()


@jobs.command("list")
@click.option("--domain", help="Only this domain's.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@as_json
@click.pass_obj
def list_jobs(workspace: Workspace, /, domain: str | None, limit: int, as_json: bool) -> None:
    """The newest jobs, of everybody."""
    with _book(workspace) as book:
        found = book.jobs(domain=domain, limit=limit)
    if as_json:
        click.echo(json.dumps([_document(job) for job in found]))
        return
    for job in found:
        said = job.version or (job.error.code if job.error else "")
        click.echo(f"{job.id}  {_day(job.created)}  {job.state:9}  {job.request.domain}  {said}")


@jobs.command("show")
@click.argument("job")
@as_json
@click.pass_obj
def show(workspace: Workspace, /, job: str, as_json: bool) -> None:
    """A job and what happened to it, oldest first."""
    with _book(workspace) as book:
        found = book.job(job)
        kinds = tuple(EventKind) if as_json else _MESSAGES
        events = book.events(job, kinds, limit=100_000)[::-1]
    if as_json:
        click.echo(json.dumps(_document(found) | {"events": [asdict(one) for one in events]}))
        return
    click.echo(f"{found.id}  {found.request.domain}  {found.state}  {found.seconds:.0f} s of work")
    show_table(
        ("at", "level", "event"),
        [(_day(event.created), event.level, event.message) for event in events],
    )


@jobs.command("start")
@click.argument("domain")
@click.option("--from-log", is_flag=True, help="With answers from the log that were judged.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option("--reason", default="by hand", help="What the first event says.")
@as_json
@click.pass_obj
def start(
    workspace: Workspace, /, domain: str, from_log: bool, seed: int, reason: str, as_json: bool
) -> None:
    """Put a job for DOMAIN into the queue: its pack's examples, and the log's."""
    known = [Pack.load(folder).name for folder in workspace.packs]
    if domain not in known:
        raise click.ClickException(f"no pack is named {domain!r}; configured: {', '.join(known)}")
    request = TrainingRequest(domain=domain, model=domain, from_log=from_log, seed=seed)
    with _book(workspace) as book:
        made = book.add(request, ACTOR, f"Started: {reason}")
    click.echo(json.dumps(_document(made)) if as_json else f"{made.id} is {made.state}")


def _moving(name: str, act: Callable[..., TrainingJob], words: str) -> click.Command:
    """A verb that changes one job."""

    @click.argument("job")
    @as_json
    @click.pass_obj
    def verb(workspace: Workspace, /, job: str, as_json: bool) -> None:
        with _book(workspace) as book:
            changed = act(book, job, actor=ACTOR)
        click.echo(json.dumps(_document(changed)) if as_json else f"{job} is {changed.state}")

    verb.__doc__ = words
    return jobs.command(name)(verb)


_moving("cancel", JobBook.cancel, "End a job; a running one stops within seconds.")
_moving("pause", JobBook.pause, "Hold a job; a running one stops within seconds.")
_moving("resume", JobBook.resume, "Put a held job into the queue again.")


@jobs.command("work")
@click.option("--accelerator", default="", help="Name of what one job at a time may use.")
@click.option(
    "--threads", type=click.IntRange(1, 1024), help="Processor threads [default: every processor]."
)
@click.option(
    "--lease",
    type=click.FloatRange(5, 3600),
    default=LEASE_SECONDS,
    show_default=True,
    help="Seconds after which another worker takes up the job of one that was lost.",
)
@click.pass_obj
def work(workspace: Workspace, /, accelerator: str, threads: int | None, lease: float) -> None:
    """Work on the queue until SIGINT or SIGTERM, and start what the triggers ask for."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    ended = threading.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda *_: ended.set())
    store = Store(workspace.store_url)
    domains = [Pack.load(folder).name for folder in workspace.packs]
    registry = Registry(store, workspace.versions)
    drift = DomainDrift(store, registry, workspace.artifacts / "router")
    triggers = Triggers(store, Rules(**workspace.triggers), domains, drift=drift)
    succession = Succession(store, registry, Plan(**workspace.rollout), domains)
    places = Places(
        store_url=workspace.store_url,
        artifacts=workspace.artifact_root,
        cache=str(workspace.state / "cache"),
        indexes=str(workspace.artifacts / "indexes"),
        folder=str(workspace.state / "training"),
        base_model=str(workspace.base_model),
        packs=tuple(map(str, workspace.packs)),
        threads=threads,
        protect=tuple(map(str, workspace.protect)),
        encoder=str(workspace.encoder),
        opted_out=workspace.opted_out,
        general=None if workspace.general is None else str(workspace.general),
        general_share=workspace.general_share,
        grounded_share=workspace.grounded_share,
        trial=dict(workspace.trial),
    )
    worker = Worker(
        store,
        places,
        accelerator=accelerator,
        triggers=triggers,
        succession=succession,
        lease_seconds=lease,
    )
    click.echo("working on the queue", err=True)
    try:
        for words in worker.rounds(ended.wait):
            click.echo(f"{_day(time.time())}  {words}", err=True)
    finally:
        with suppress(AdapterError):  # leases run out by themselves
            worker.close()
        store.close()


def _document(job: TrainingJob) -> dict[str, Any]:
    facts = asdict(job)  # the request is none of the standard library's dataclasses
    return facts | {"request": to_builtins(job.request)}


def _day(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%d %H:%M:%S")
