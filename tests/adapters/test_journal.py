"""Nothing that was appended is lost: not by kill -9, a store that is down, or a full disk."""

import fcntl
import os
import resource
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.delivery import Record, deliver
from adapters.errors import JournalFull
from adapters.journal import Journal


@dataclass(frozen=True)
class Line:
    """A small piece of feedback."""

    id: str
    text: str = ""
    interaction_id: str = ""
    created: float = 0
    metric: str = ""


def drained(folder: Path) -> list[str]:
    """Ids of everything a new process finds."""
    found: list[Record] = []
    journal = Journal(folder)
    journal.drain(partial(deliver, sink=found.extend))
    journal.close()
    return [record.row.id for record in found]


def test_records_arrive_once_and_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=200)
    found: list[Record] = []
    for number in range(25):
        journal.append("feedback", Line(str(number)))
        if number % 10 == 0:
            journal.drain(partial(deliver, sink=found.extend))
    assert journal.holds("24") and not journal.holds("0")
    journal.drain(partial(deliver, sink=found.extend))
    assert [record.row.id for record in found] == [str(number) for number in range(25)]
    assert journal.pending == 0
    assert len(list(tmp_path.glob("*.jsonl"))) == 1, "delivered segments are deleted"
    journal.close()


def test_a_store_that_is_down_loses_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=100)
    for number in range(20):
        journal.append("feedback", Line(str(number)))

    def broken(_records: list[Record]) -> None:
        raise ConnectionError("down")

    with pytest.raises(ConnectionError):
        journal.drain(partial(deliver, sink=broken))
    assert journal.pending == 20
    found: list[Record] = []
    journal.drain(partial(deliver, sink=found.extend))
    assert [record.row.id for record in found] == [str(number) for number in range(20)]
    journal.close()


def test_a_killed_process_loses_nothing_it_had_appended(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys
        from dataclasses import make_dataclass
        from pathlib import Path
        from adapters.journal import Journal
        Line = make_dataclass("Line", ["id", "interaction_id", "created", "metric"])
        journal = Journal(Path(sys.argv[1]), segment_bytes=500)
        for number in range(10**6):
            journal.append("feedback", Line(str(number), "", 0, ""))
            print(number, flush=True)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(300)]
    process.send_signal(signal.SIGKILL)
    acknowledged += process.stdout.read().split()
    process.stdout.close()
    process.wait()
    found = drained(tmp_path)
    assert set(acknowledged) <= set(found)
    assert len(found) == len(set(found))
    assert drained(tmp_path) == [], "an adopted segment is delivered once"


def test_a_living_process_keeps_its_segments(tmp_path: Path) -> None:
    alive, other = Journal(tmp_path), Journal(tmp_path)
    alive.append("feedback", Line("mine"))
    assert drained(tmp_path) == [] and not other.has_orphans()
    alive.close()
    assert other.has_orphans()
    assert drained(tmp_path) == ["mine"] and not other.has_orphans()
    other.close()


def test_an_orphan_is_one_until_the_store_has_it(tmp_path: Path) -> None:
    gone, heir, sibling = Journal(tmp_path), Journal(tmp_path), Journal(tmp_path)
    gone.append("feedback", Line("left behind"))
    gone.close()
    found: list[Record] = []

    def look(records: list[Record]) -> None:
        assert sibling.has_orphans() and heir.has_orphans(), "while it is being delivered"
        assert sibling.drain(partial(deliver, sink=found.extend)) == 0, "by one at a time"
        found.extend(records)

    assert heir.drain(partial(deliver, sink=look)) == 1
    assert [record.row.id for record in found] == ["left behind"]
    assert not sibling.has_orphans()
    heir.close()
    sibling.close()


def test_who_looks_for_orphans_hides_none_from_others(tmp_path: Path) -> None:
    gone, alive = Journal(tmp_path), Journal(tmp_path)
    gone.append("feedback", Line("left behind"))
    gone.close()
    with next(path for path in tmp_path.glob("*.jsonl") if path.stat().st_size).open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert alive.has_orphans()
    alive.close()


@settings(deadline=None)
@given(torn=st.binary(max_size=60))
def test_damaged_lines_are_set_aside_and_the_rest_arrives(
    tmp_path_factory: pytest.TempPathFactory, torn: bytes
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    line = b'{"kind":"feedback","id":"%d","interaction_id":"a","created":1,"metric":"m"}\n'
    middle = torn.replace(b"\n", b"") + b"\n"
    (folder / "0-1.jsonl").write_bytes(line % 1 + middle + line % 2 + b'{"kind":"feedb')
    assert [i for i in drained(folder) if i in ("1", "2")] == ["1", "2"]
    assert (folder / "damaged.log").read_bytes() == (middle if middle.strip() else middle)


def test_a_full_disk_drops_the_record_and_keeps_the_journal_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append("feedback", Line("before"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = next(tmp_path.glob("*.jsonl")).stat().st_size
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))
        with pytest.raises(JournalFull, match=os.strerror(27)):
            journal.append("feedback", Line("does not fit", "x" * 100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    journal.append("feedback", Line("after"))
    assert journal.dropped == 1
    journal.close()
    assert drained(tmp_path) == ["before", "after"]


def test_the_limit_bounds_what_waits(tmp_path: Path) -> None:
    journal = Journal(tmp_path, limit_bytes=150)
    journal.append("feedback", Line("fits"))
    with pytest.raises(JournalFull, match="the limit is 150"):
        journal.append("feedback", Line("x", "y" * 100))
    journal.drain(partial(deliver, sink=lambda _records: None))
    journal.append("feedback", Line("fits again", "y" * 20))
    journal.close()
