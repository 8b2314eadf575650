"""The verb `turnout synthesize`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from adapters.packs import Pack
from adapters.review.proposal import MOST_ANNOTATORS
from retrieval.chunking import Chunking, passages_of
from retrieval.documents import read_documents
from training.cli.queue import opened_book
from training.cli.workspace import Workspace
from training.errors import DataError
from training.progress import Bar
from training.review.collecting import labels_by_task
from training.review.drafting import Seeds
from training.review.synthesis import Material, Outcome, Plan, Synthesis
from training.rows import read_chat

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_KEY = "SYNTHESIS_API_KEY"


@click.command()
@click.argument("domain")
@click.option("--url", required=True, help="OpenAI-compatible server, as http://host or …/v1.")
@click.option("--model", required=True, help="The model there that writes.")
@click.option("--key", envvar=_KEY, help=f"API key of that server [environment: {_KEY}].")
@click.option(
    "--n", type=click.IntRange(1, 100_000), default=100, show_default=True, help="In the queue."
)
@click.option(
    "--from",
    "seeds",
    type=click.Choice(list(map(str, Seeds))),
    default="train",
    show_default=True,
    help="Made after training rows, after passages of the documents, or for each label in turn.",
)
@click.option("--data", type=_FILE, help="Chat JSONL to show, in place of the pack's train.jsonl.")
@click.option(
    "--eval", "evaluations", type=_FILE, multiple=True, help="Another set that nothing may copy."
)
@click.option("--concurrency", type=click.IntRange(1, 64), default=4, show_default=True)
@click.option(
    "--max-tokens-total", type=click.IntRange(1), help="Of this call; no request goes beyond it."
)
@click.option("--annotators", type=click.IntRange(1, MOST_ANNOTATORS), default=1, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def synthesize(
    workspace: Workspace,
    /,
    domain: str,
    data: Path | None,
    evaluations: tuple[Path, ...],
    as_json: bool,
    seeds: str,
    **wanted: Any,
) -> None:
    """Let a model write examples for DOMAIN into the review queue.

    None of them is trained on before somebody accepted it (`turnout review label`). The same call
    again goes on where it ended. Exit code 1 means that fewer came than were wanted.
    """
    plan = Plan(domain, seeds=Seeds(seeds), **wanted)
    with opened_book(workspace) as book, Bar() as bar:
        bar.stage("read")
        synthesis = Synthesis(plan, _material(workspace, plan, data, evaluations), book)
        bar.stage("synthesize")
        found = synthesis.run(lambda done, total: bar.advance(done, total, {}))
    click.echo(json.dumps(asdict(found)) if as_json else _story(found))
    if found.before + found.queued < plan.n:
        raise click.exceptions.Exit(1)


def _material(
    workspace: Workspace, plan: Plan, data: Path | None, evaluations: tuple[Path, ...]
) -> Material:
    packs = {pack.name: pack for pack in map(Pack.load, workspace.packs)}
    pack = packs.get(plan.domain)
    file = data or (pack.train if pack else None)
    if file is None:
        names = ", ".join(sorted(packs)) or "none"
        raise DataError(
            f"no training examples for {plan.domain!r} (packs: {names}); name one, or give --data"
        )
    rows = read_chat(file)
    passages = []
    if plan.seeds is Seeds.DOCUMENTS and pack is not None and pack.documents is not None:
        documents = read_documents(pack.documents)
        passages = [one for document in documents for one in passages_of(document, Chunking())]
    files = [*(one.eval for one in packs.values() if one.eval), *evaluations]
    held_out = [row for one in files for row in read_chat(one)]
    return Material(rows, labels_by_task(rows), passages, held_out)


def _story(found: Outcome) -> str:
    refused = ", ".join(f"{count} {why}" for why, count in sorted(found.refused.items()))
    lines = [
        f"{found.queued} queued as {found.batch}, {found.before} were there; "
        f"{found.requests} requests, {found.tokens} tokens, {found.retries} repeated, "
        f"{found.failed} failed",
        f"refused: {refused or 'nothing'}",
    ]
    return "\n".join(lines + ["the budget is spent"] * found.exhausted)
