"""The log and experiments as files for other tools: whole, with the analysis's own numbers."""

import csv
import io
import json
import random
import resource
import sys
import time
from collections import defaultdict
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

from adapters.cli.experiments import experiments
from adapters.cli.exports import whole, write
from adapters.cli.log import log
from adapters.errors import AdapterError, ExportFailed
from adapters.experiments.book import ExperimentBook
from adapters.experiments.measures import Kind
from adapters.experiments.metrics import measure
from adapters.exports import Export, Format
from adapters.interactions import Feedback, Interaction
from adapters.registry import Registry
from adapters.store import Store
from tests.adapters.experiments.designs import design
from tests.adapters.experiments.test_metrics import START, answer, thumb
from tests.adapters.places import Place
from tests.adapters.test_store import interaction, records

HOSTILE = 'a "quoted", \n=cmd() \u0000 🚂'


class Desk(Place):
    """A place where exports are asked for."""

    def run(self, group: click.Group, *arguments: str) -> Result:
        done = CliRunner().invoke(group, arguments, obj=self)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done


@pytest.fixture
def place(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def experiment(store: Store, registry: Registry, **changes: Any) -> ExperimentBook:
    """An experiment with answers of every standing, and feedback that counts and that does not."""
    book = ExperimentBook(store, registry)
    book.begin(design(feedback_days=7, most_judged=2, **changes))
    store.take(
        records(
            *(answer(str(n), "ann", total_ms=10.0 * n) for n in (1, 2, 3)),
            answer("4", "bob", session="s", prompt_tokens=5),
            answer("5", "eve", "control"),
            answer("6", "joe", "control", exposed=False),
            answer("7", "tom", None, standing="ineligible"),
            answer("8", "sue", "control", standing="shadow", shadow_of="5"),
            answer("9", "kim", "control"),
            *(thumb(str(n), True) for n in (1, 2, 6)),
            thumb("3", False),  # of ann two come first
            thumb("4", False),
            thumb("5", True),
            thumb("9", False, after=8 * 86_400.0),  # too late
        )
    )
    return book


def mean(rows: list[dict[str, Any]], metric: str, arm: str, kind: Kind) -> float:
    """A metric's mean over an arm's answers, or units, as anybody would compute it from rows."""
    by_unit: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row["arm"] == arm and (value := row[f"metric:{metric}"]) is not None:
            by_unit[row["experiment_unit"]].append(value)
    return fmean(chain(*by_unit.values()) if kind is Kind.RATIO else map(fmean, by_unit.values()))


def test_an_experiments_rows_have_the_numbers_of_the_analysis(
    place: Desk, store: Store, registry: Registry
) -> None:
    book = experiment(store, registry)
    rows = lines(place.run(experiments, "export", "e").stdout)
    assert [row["id"] for row in rows] == [*"123456789"]
    thumbs = [row["metric:thumb"] for row in rows]
    assert thumbs == [1, 1, None, 0, 1, None, None, None, None]
    assert rows[3] == {
        "id": "4",
        "created": START + 4,
        "experiment_unit": "bob",
        "session": "s",
        "arm": "new",
        "arm_propensity": 1.0,
        "standing": "assigned",
        "exposed": True,
        "outcome": "ok",
        "model": "legal--v1-00000000",
        "first_token_ms": None,
        "total_ms": 20.0,
        "prompt_tokens": 5,
        "completion_tokens": 1,
        "shadow_of": None,
        "metric:thumb": 0.0,
        "metric:error": 0.0,
        "metric:fallback": 0.0,
        "metric:refusal": 0.0,
        "metric:total_ms": 20.0,
        "metric:completion_tokens": 1.0,
    }
    assert (rows[5]["metric:fallback"], rows[5]["metric:total_ms"]) == (1, None)
    assert (rows[7]["shadow_of"], rows[7]["metric:total_ms"]) == ("5", None)
    entry = book.entry("e")
    found = measure(store, entry)
    assert found.capped == 1
    for one in (entry.experiment.metric, *entry.experiment.guardrails):
        for arm, sample in found.samples[one.name].items():
            expected = sum(sample.y) / sum(sample.x)
            assert mean(rows, one.name, arm, one.measure.kind) == pytest.approx(expected), one.name


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_every_format_says_the_same(
    place: Desk, store: Store, registry: Registry, ending: str
) -> None:
    experiment(store, registry)
    out = place.folder / f"rows.{ending}"
    done = place.run(experiments, "export", "e", "--out", str(out))
    assert (done.exit_code, done.stdout) == (0, "")
    told = lines(place.run(experiments, "export", "e").stdout)
    if ending == "parquet":
        assert parquet.read_table(out).to_pylist() == told
    elif ending == "csv":
        as_text = [{k: "" if v is None else str(v) for k, v in row.items()} for row in told]
        assert list(csv.DictReader(io.StringIO(out.read_text()))) == as_text
    else:
        assert lines(out.read_text()) == told
    assert [file.name for file in place.folder.glob("*rows*")] == [out.name]


def test_what_comes_after_the_end_is_left_out_as_it_is_in_the_analysis(
    place: Desk, store: Store, registry: Registry
) -> None:
    book = ExperimentBook(store, registry)
    book.begin(design())
    now = time.time()
    store.take(records(answer("1", created=now - 5), answer("2", created=now + 60)))
    entry = book.stop("e")
    assert measure(store, entry).populations["new"].answers == 1
    rows = lines(place.run(experiments, "export", "e").stdout)
    assert [row["id"] for row in rows] == ["1"]


def test_checks_are_those_of_the_domains_pack(
    place: Desk, store: Store, registry: Registry
) -> None:
    for name, most in (("legal", 1), ("other", 9)):
        pack = place.folder / "packs" / name
        (pack / "documents").mkdir(parents=True)
        check = f'[[checks]]\nname = "brief"\nkind = "length"\nmost_words = {most}\n'
        (pack / "pack.toml").write_text(f'name = "{name}"\ntitle = "T"\n{check}')
    margin = [{"name": "check:brief", "margin": 0.1}]
    ExperimentBook(store, registry).begin(design(guardrails=margin))
    store.take(records(answer("1"), answer("2", response={"text": "two words"})))
    rows = lines(place.run(experiments, "export", "e").stdout)
    assert [row["metric:check:brief"] for row in rows] == [1, 0]


def full_log(store: Store) -> tuple[Interaction, Feedback]:
    """Three interactions, the second with two pieces of feedback."""
    said = interaction(
        "b", created=2.0, experiment="e", arm="x", session=HOSTILE, sources=("a#0", "b#1")
    )
    judged = Feedback("f1", "b", 3.0, "stars", 4.5, comment=HOSTILE)
    again = Feedback("f0", "b", 4.0, "thumb", True)
    orphan = Feedback("f2", "not here yet", 1.0, "thumb", False)
    last = interaction("c", created=9.0, target="library")
    store.take(records(orphan, again, judged, interaction("a"), said, last))
    return said, judged


def test_the_log_is_exported_whole(place: Desk, store: Store) -> None:
    said, judged = full_log(store)
    rows = lines(place.run(log, "export").stdout)
    assert [(row["id"], [f["id"] for f in row["feedback"]]) for row in rows] == [
        ("a", []),
        ("b", ["f1", "f0"]),
        ("c", []),
    ]
    assert rows[1]["session"] == HOSTILE and rows[1]["feedback"][0] == judged.to_record()
    out = place.folder / "log.parquet"
    place.run(log, "export", "--out", str(out))
    table = parquet.read_table(out)
    assert table.column_names == list(rows[0])
    row = table.to_pylist()[1]
    parts = {name: json.loads(row.pop(name)) for name in ("request", "response", "feedback")}
    assert row | parts == rows[1]
    assert row["sources"] == list(said.sources)
    place.run(log, "export", "--out", str(place.folder / "log.csv"))
    table = csv.DictReader(io.StringIO((place.folder / "log.csv").read_text(), newline=""))
    assert [row["session"] for row in table] == ["", HOSTILE, ""]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--target", "legal"), "ab"),
        (("--experiment", "e"), "b"),
        (("--since", "1970-01-01T00:00:02"), "bc"),
        (("--until", "1970-01-01T00:00:09"), "ab"),
        (("--target", "nowhere"), ""),
    ],
)
def test_a_part_of_the_log(
    place: Desk, store: Store, options: tuple[str, str], expected: str
) -> None:
    full_log(store)
    rows = lines(place.run(log, "export", *options).stdout)
    assert "".join(row["id"] for row in rows) == expected
    out = place.folder / "part.parquet"
    place.run(log, "export", *options, "--out", str(out))
    assert parquet.read_table(out).num_rows == len(expected)


def test_the_log_is_read_in_parts_that_miss_and_repeat_nothing(store: Store) -> None:
    times = [float(n // 700) for n in range(1_500)]  # more of one moment than a part holds
    store.take(records(*(interaction(f"{n:05}", created=t) for n, t in enumerate(times))))
    store.take(records(*(Feedback(f"f{n}", f"{n:05}", 1.0, "thumb", True) for n in range(1_500))))
    found = list(store.judged())
    assert [judged.interaction.id for judged in found] == [f"{n:05}" for n in range(1_500)]
    assert all(len(judged.feedback) == 1 for judged in found)
    assert store.recorded() == 1_500 and store.recorded(until=1.0) == 700


@pytest.mark.parametrize("form", Format)
def test_a_disk_that_is_full_leaves_what_was_there(tmp_path: Path, form: Format) -> None:
    out = tmp_path / f"rows.{form}"
    out.write_text("before")
    table = Export(
        {"text": str}, [{"text": random.Random(n).randbytes(5_000).hex()} for n in range(10)]
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(ExportFailed, match="could not be written whole: .*File too large"):
            write(table, out, None, lambda: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert out.read_text() == "before" and list(tmp_path.iterdir()) == [out]
    write(table, out, None, lambda: None)
    assert out.stat().st_size > 50_000


def test_rows_that_break_off_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(AdapterError), whole(tmp_path / "rows.csv") as file:
        file.write(b"half")
        raise AdapterError("the store is gone")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_written_to_directly(tmp_path: Path) -> None:
    table = Export({"n": int}, [{"n": 1}])
    write(table, Path("/dev/null"), "csv", lambda: None)
    assert not Path("/dev/null").is_file()
    with pytest.raises(ExportFailed, match="/dev/full could not be written whole: No space"):
        write(table, Path("/dev/full"), None, lambda: None)
    with pytest.raises(ExportFailed, match="No such file or directory"):
        write(table, tmp_path / "absent" / "rows.csv", None, lambda: None)


def test_wrong_use_says_what_to_do(place: Desk) -> None:
    done = place.run(log, "export", "--format", "parquet")
    assert done.exit_code == 2 and "name it with --out" in done.output
    assert place.run(log, "export", "--format", "xlsx").exit_code == 2
    with pytest.raises(AdapterError, match="no experiment 'absent'"):
        place.run(experiments, "export", "absent")


def test_a_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExportFailed, match=r"pip install 'turnout\[parquet\]'"):
        write(Export({"n": int}, []), tmp_path / "rows.parquet", None, lambda: None)
    assert list(tmp_path.iterdir()) == []


def test_nothing_recorded_is_a_table_without_rows(tmp_path: Path) -> None:
    for form in Format:
        out = tmp_path / f"rows.{form}"
        write(Export({"n": int, "at": float}, []), out, None, lambda: None)
    assert (tmp_path / "rows.csv").read_text().split() == ["n,at"]
    assert (tmp_path / "rows.jsonl").read_text() == ""
    assert parquet.read_table(tmp_path / "rows.parquet").column_names == ["n", "at"]
