"""What the records and the moves amount to: failures, answers that were wrong, added latency.

Pure functions, so that the judgement can be tested without a server.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from benchmarks.swap.load import Ending, Record

# A request belongs to a swap when it was sent this shortly before or after one.
SECONDS_BEFORE, SECONDS_AFTER = 0.5, 3.0


@dataclass(frozen=True, slots=True)
class Move:
    """One change of what serves. Moments are `time.monotonic` seconds around the admin request."""

    sent: float
    returned: float
    takes_in: str | None = None
    takes_out: str | None = None


def failures(records: Iterable[Record], *, broken_streams_allowed: bool = False) -> list[Record]:
    """Requests without a whole answer; a stream may be allowed to end in one error event."""
    return [
        record
        for record in records
        if not record.complete and not (broken_streams_allowed and _cleanly_broken(record))
    ]


def _cleanly_broken(record: Record) -> bool:
    return record.status == 200 and record.ending is Ending.ERROR


def ineligible(
    records: Iterable[Record], moves: Sequence[Move], *, domain: str, base: str
) -> list[Record]:
    """Answers by a version that was out of service during the whole request, or never in service.

    The previous champion and the base model may answer for a domain.
    """
    return [
        record
        for record in records
        if record.status == 200
        and record.model not in ("", base)
        and (record.route != domain or not _may_answer(record, moves))
    ]


def _may_answer(record: Record, moves: Sequence[Move]) -> bool:
    """In service at any moment between sending the request and the end of its answer."""
    taken_in = [m.sent for m in moves if m.takes_in == record.model and m.sent <= record.ended]
    if not taken_in:
        return False
    out = [m for m in moves if m.takes_out == record.model and m.returned <= record.begun]
    return not out or max(taken_in) > max(move.sent for move in out)


def silent_fallbacks(
    records: Iterable[Record], moves: Sequence[Move], *, domain: str
) -> list[Record]:
    """Answers that were not the champion's and whose `x-turnout-reason` does not say so.

    The champion is the one before the request or any that became it while the request ran.
    """
    return [
        record
        for record in records
        if record.status == 200
        and record.route == domain
        and record.model not in _champions(record, moves)
        and "fallback" not in record.reason
    ]


def _champions(record: Record, moves: Sequence[Move]) -> set[str]:
    changes = [move for move in moves if move.takes_in]
    before = [move for move in changes if move.returned <= record.begun][-1:]
    during = [m for m in changes if m.returned > record.begun and m.sent <= record.ended]
    return {move.takes_in for move in before + during if move.takes_in}


def around(records: Iterable[Record], moves: Iterable[Move]) -> list[Record]:
    """Records whose request was sent around one of the moves."""
    spans = [(move.sent - SECONDS_BEFORE, move.returned + SECONDS_AFTER) for move in moves]
    return [r for r in records if any(start <= r.begun <= end for start, end in spans)]


def between(records: Iterable[Record], start: float, end: float) -> list[Record]:
    """Records whose request was sent in this time."""
    return [record for record in records if start <= record.begun < end]


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds to the first token."""

    n: int
    median: float
    p95: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency":
        """Needs two values at least."""
        return cls(len(seconds), median(seconds), quantiles(seconds, n=20)[-1])

    def over(self, other: "Latency") -> dict[str, float]:
        return {
            "median": round(self.median / other.median, 3),
            "p95": round(self.p95 / other.p95, 3),
        }

    def as_json(self) -> dict[str, float]:
        return {"n": self.n, "median": round(self.median, 3), "p95": round(self.p95, 3)}


def domain_ttft(records: Iterable[Record], domain: str) -> list[float]:
    """Seconds to the first token of this domain's streams."""
    return [r.ttft for r in records if r.route == domain and r.ttft is not None]
