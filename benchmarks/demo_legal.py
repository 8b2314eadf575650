"""The main job on real contracts: fit the router, index documents, train a clause-type adapter,
serve, ask.

    make demo-legal                        (or: python -m benchmarks.demo_legal --minutes 10)

Reads the data at TURNOUT_DATA (default ../shared/data); writes only under state/demo-legal. About
15 minutes on two
cores. Prints where 60 mixed questions went, and exact match of base against adapter on held-out
clauses.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from openai import OpenAI
from rich.console import Console
from rich.table import Table

DOMAINS = ("medical", "legal", "finance", "maintenance", "telecom")
TASK = "clause_type"
PORT, ADMIN_PORT, ENGINE_PORT = 8180, 8181, 8190
console = Console(width=None if sys.stdout.isatty() else 170)


@dataclass(frozen=True, slots=True)
class Question:
    """One request of the demonstration; `expected` where there is one right answer."""

    kind: str
    messages: list[dict[str, str]]
    expected: str | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="time for the training itself")
    parser.add_argument("--json", action="store_true", help="print one JSON document as well")
    arguments = parser.parse_args()
    data = Path(os.environ.get("TURNOUT_DATA", "../shared/data"))
    if not (data / "legal" / "train.jsonl").exists():
        sys.exit(f"{data} holds no data; set TURNOUT_DATA to the folder with legal/train.jsonl")
    state = Path("state/demo-legal")
    shutil.rmtree(state, ignore_errors=True)
    config = write_configuration(state, data)

    console.rule("router")
    routing = data / "routing"
    turnout(config, "router", "fit", "--data", routing / "train.jsonl", "--documents", data)
    routed = json.loads(
        turnout(config, "router", "eval", "--data", routing / "eval.jsonl", "--json")
    )
    console.print(
        {name: routed[name] for name in ("n", "accuracy", "macro_f1", "ece", "latency_us")}
    )

    console.rule("documents")
    for domain in DOMAINS:
        turnout(config, "docs", "ingest", data / domain / "documents.jsonl", "--domain", domain)

    console.rule(f"adapter: {arguments.minutes:g} minutes of training")
    minutes = str(arguments.minutes)
    trained = json.loads(
        turnout(config, "train", "legal", "--minutes", minutes, "--promote", "--json")
    )

    console.rule("60 questions to model auto")
    with system(config) as client:
        rows = [ask(client, question) for question in questions(data)]
    show(rows, trained, routed)
    if arguments.json:
        print(json.dumps({"router": routed, "training": trained, "answers": rows}))


def write_configuration(state: Path, data: Path) -> Path:
    """Packs for five domains; only legal has examples to train on, those of the clause task."""
    packs = []
    for domain in DOMAINS:
        folder = state / "packs" / domain
        folder.mkdir(parents=True)
        prompt = f"You answer {domain} questions briefly."
        (folder / "pack.toml").write_text(
            f'name = "{domain}"\ntitle = "{domain}"\nsystem_prompt = "{prompt}"\n'
        )
        (folder / "documents.jsonl").symlink_to((data / domain / "documents.jsonl").resolve())
        packs.append(f'[[packs]]\npath = "{folder}"\nengine = "local"\n')
    for name in ("train", "eval"):
        rows = [
            line for line in lines(data / "legal" / f"{name}.jsonl") if line["meta"]["task"] == TASK
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (state / "packs" / "legal" / f"{name}.jsonl").write_text(text)
    config = state / "turnout.toml"
    config.write_text(
        f'state = "{state}"\n'
        f"[server]\nport = {PORT}\nadmin_port = {ADMIN_PORT}\n"
        f'[[engines]]\nname = "local"\nkind = "embedded"\nmodel = "smollm2-135m"\n'
        f'urls = ["http://127.0.0.1:{ENGINE_PORT}"]\n'
        '[[targets]]\nname = "general"\nengine = "local"\n' + "".join(packs)
    )
    return config


def questions(data: Path) -> list[Question]:
    """60 held-out questions, mixed: clauses to label, questions the documents answer, general
    talk."""
    chosen = random.Random(7)
    clauses = [row for row in lines(data / "legal" / "eval.jsonl") if row["meta"]["task"] == TASK]
    found = [
        Question(TASK, row["messages"][:-1], row["messages"][-1]["content"])
        for row in chosen.sample(clauses, 20)
    ]
    for domain in DOMAINS:
        asked = chosen.sample(lines(data / domain / "qrels.jsonl"), 6)
        found += [Question(f"{domain} question", [user(row["query"])]) for row in asked]
    general = [row for row in lines(data / "routing" / "eval.jsonl") if row["label"] == "general"]
    found += [Question("general", [user(row["text"])]) for row in chosen.sample(general, 10)]
    chosen.shuffle(found)
    return found


def ask(client: OpenAI, question: Question) -> dict[str, Any]:
    """Send one question to `auto`. Labelling wants the bare clause, so it goes without passages."""
    extra = {"turnout": {"retrieval": False}} if question.expected else {}
    started = time.perf_counter()
    raw = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=question.messages,  # type: ignore[arg-type]
        max_tokens=32,
        temperature=0,
        extra_body=extra,
    )
    seconds = time.perf_counter() - started
    answer = raw.parse()
    text = answer.choices[0].message.content or ""
    return {
        "kind": question.kind,
        "route": raw.headers["x-turnout-route"],
        "reason": raw.headers["x-turnout-reason"],
        "confidence": float(raw.headers["x-turnout-confidence"]),
        "model": answer.model,
        "sources": raw.headers.get("x-turnout-sources", ""),
        "overhead_ms": float(raw.headers["x-turnout-overhead-ms"]),
        "seconds": round(seconds, 2),
        "right": None if question.expected is None else text.strip() == question.expected,
        "text": text,
    }


def show(rows: list[dict[str, Any]], trained: dict[str, Any], routed: dict[str, Any]) -> None:
    """The table, and the scores that matter."""
    table = Table("asked", "routed", "p", "by", "first source", "ms gateway", "s", "answer")
    for row in rows:
        mark = {True: "[green]✓[/green] ", False: "[red]✗[/red] ", None: ""}[row["right"]]
        first, *more = row["sources"].split(",")
        table.add_row(
            row["kind"],
            row["route"],
            f"{row['confidence']:.2f}",
            row["model"],
            f"{first[:28]} +{len(more)}" if first else "",
            f"{row['overhead_ms']:.1f}",
            f"{row['seconds']:.1f}",
            mark + " ".join(row["text"].split())[:40],
        )
    console.print(table)
    labelled = [row for row in rows if row["right"] is not None]
    legal = [row for row in rows if row["kind"] == TASK or row["kind"].startswith("legal")]
    evaluation = trained["evaluation"]
    base = evaluation["against"]["base"]
    console.print(
        f"router: accuracy {routed['accuracy']:.3f}, ECE {routed['ece']:.3f}, n {routed['n']}"
    )
    console.print(
        f"clause type, exact match on {evaluation['n']} rows: base {base['score']:.3f} → "
        f"{trained['version']} {evaluation['score']:.3f} "
        f"({base['difference']:+.3f}, 95 % interval {base['ci95']}): {trained['verdict']}"
    )
    console.print(
        f"live: {sum(row['right'] for row in labelled)}/{len(labelled)} clauses right, "
        f"{sum(row['route'] == 'legal' for row in legal)}/{len(legal)} legal requests to legal"
    )


@contextmanager
def system(config: Path) -> Iterator[OpenAI]:
    """`turnout up` for the time of the block."""
    command = [sys.executable, "-m", "gateway", "up", "--no-train", "--config", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{PORT}"
        for _ in range(600):
            if process.poll() is not None:
                sys.exit("`turnout up` ended; its message is above")
            if ready(url):
                break
            time.sleep(0.2)
        key = (config.parent / "development.key").read_text().strip()
        with OpenAI(base_url=f"{url}/v1", api_key=key) as client:
            wait_for_adapters(url)
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz").status_code == 200
    except httpx2.HTTPError:
        return False


def wait_for_adapters(url: str) -> None:
    """Until the engine holds the new version, or said that it cannot."""
    for _ in range(300):
        metrics = httpx2.get(f"{url}/metrics").text
        if any(f'turnout_adapter_replicas{{state="{s}"' in metrics for s in ("ready", "failed")):
            return
        time.sleep(0.1)


def turnout(config: Path, *arguments: str | Path) -> str:
    """Run a verb; its progress goes to the terminal, its stdout comes back."""
    command = [sys.executable, "-m", "gateway", *map(str, arguments), "--config", str(config)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1) or (done.returncode and not done.stdout):
        sys.exit(f"`turnout {' '.join(map(str, arguments))}` failed")
    return done.stdout


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
