"""What curation keeps and what it takes out, on real rows and on rows that users spoiled.

    python -m benchmarks.curation

Users are made up: each gives an equal share of the legal clauses, and those who lie answer with
another label.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import click

from adapters.cli import as_json, show_json, show_table
from benchmarks import options
from training.curation.curate import curate, reasons
from training.curation.poisoning import drop_poisoned
from training.rows import Row, Source, read_chat

USERS = 20
LIARS = 6
DOMAINS = ("legal", "finance", "medical", "maintenance", "telecom")
TASK = "clause_type"


@dataclass(frozen=True, slots=True)
class Attack:
    """Who answers wrongly, how often, and with which label: any other, or always the same."""

    name: str
    liars: int
    share: float = 1.0
    label: str | None = None
    beside_pack: bool = False


ATTACKS = (
    Attack("everybody is honest", 0),
    Attack("one user, 30 % wrong", 1, 0.3),
    Attack("one user, all wrong", 1),
    Attack("six users, all wrong", LIARS),
    Attack("six users, always one label", LIARS, label="license_grant"),
    Attack("the same, beside a pack", LIARS, label="license_grant", beside_pack=True),
    Attack("every user, 30 % wrong", USERS, 0.3),
)


@dataclass(frozen=True, slots=True)
class Survived:
    """Of users' rows: how many were wrong, the share of those removed, and of the right ones."""

    attack: str
    wrong: int
    found: float | None
    lost: float


def attacked(rows: Sequence[Row], attack: Attack, random: Random) -> tuple[list[Row], set[str]]:
    """The rows as users give them, and the origins of the wrong ones; half of the rows are the
    pack's own where there is one."""
    labels = sorted({row.answer for row in rows})
    shuffled = random.sample(list(rows), len(rows))
    own = shuffled[::2] if attack.beside_pack else []
    given = [replace(row, source=Source.PACK) for row in own]
    wrong = set()
    for index, row in enumerate(shuffled[1::2] if own else shuffled):
        answer = row.answer
        if index % USERS < attack.liars and random.random() < attack.share:
            answer = attack.label or random.choice([name for name in labels if name != answer])
            wrong |= {row.origin} if answer != row.answer else set()
        given.append(replace(row, unit=f"u{index % USERS}", answer=answer, source=Source.LOG))
    return given, wrong


def survived(rows: Sequence[Row], attack: Attack) -> Survived:
    """What the outlier checks make of an attack."""
    given, wrong = attacked(rows, attack, Random(0))
    _, removed = drop_poisoned(given)
    gone = {item.origin for item in removed}
    right = sum(row.unit is not None for row in given) - len(wrong)
    found = len(wrong & gone) / len(wrong) if wrong else None
    return Survived(attack.name, len(wrong), found, len(gone - wrong) / right)


@dataclass(frozen=True, slots=True)
class Curated:
    """A domain's own rows before and after; what was removed and replaced, by kind."""

    domain: str
    rows: int
    kept: int
    removed: str
    personal: str
    seconds: float


def curated(path: Path) -> Curated:
    """Curate a file as if users had given it."""
    rows = read_chat(path)
    began = time.perf_counter()
    dataset = curate(rows)
    seconds = time.perf_counter() - began
    personal = Counter({str(kind): n for kind, n in dataset.personal["replaced"].items()})
    return Curated(
        domain=path.parent.name,
        rows=len(rows),
        kept=len(dataset.rows),
        removed=reasons(dataset.removed),
        personal=", ".join(f"{n} {kind}" for kind, n in personal.most_common()),
        seconds=seconds,
    )


@click.command()
@options.data("the domains' train.jsonl")
@as_json
def main(data: Path, as_json: bool) -> None:
    """Measure the outlier checks on clauses, and curation as a whole on five domains."""
    clauses = [row for row in read_chat(data / "legal" / "train.jsonl") if row.task == TASK]
    with options.steps() as progress:
        attacks = [survived(clauses, one) for one in progress.track(ATTACKS, description="attacks")]
        domains = [
            curated(data / name / "train.jsonl")
            for name in progress.track(DOMAINS, description="domains")
        ]
    if as_json:
        show_json({"attacks": attacks, "domains": domains})
        return
    show_table(
        ("users", "wrong rows", "of them removed", "right rows lost"),
        [(one.attack, one.wrong, _percent(one.found), _percent(one.lost)) for one in attacks],
    )
    show_table(
        ("domain", "rows", "kept", "removed", "personal data", "seconds"),
        [
            (one.domain, one.rows, one.kept, one.removed, one.personal, f"{one.seconds:.1f}")
            for one in domains
        ],
    )


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"


if __name__ == "__main__":
    main()
