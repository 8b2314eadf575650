"""The compute thread: owns the batcher, takes requests from the event loop, hands tokens back to
it.

Everything that touches the model happens on that one thread; the event loop and it share queues,
nothing else.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass

from adapters.engines.embedded.batcher import Batcher, FinishReason, GenerationRequest, Sequence
from adapters.engines.embedded.errors import EngineFailure, Overloaded
from adapters.engines.embedded.metrics import Load, Metrics
from adapters.engines.embedded.sampling import TokenLogprobs

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delta:
    """What one answer gained: text that is final, and the tokens behind it."""

    index: int  # of the answer within its request
    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...]
    finish_reason: FinishReason | None = None
    stop_reason: int | str | None = None


class Stream:
    """The answers to one HTTP request as they come; iterate it once, and `close` it in any case."""

    def __init__(self, worker: "Worker", sequences: Items[Sequence]) -> None:
        self._worker = worker
        self.sequences = tuple(sequences)
        self._queue: asyncio.Queue[Delta | EngineFailure] = asyncio.Queue()
        self._open = set(range(len(sequences)))

    @property
    def unfinished(self) -> int:
        """Answers that are still to be computed."""
        return len(self._open)

    async def __aiter__(self) -> AsyncIterator[Delta]:
        remaining = len(self.sequences)
        while remaining:
            delta = await self._queue.get()
            if isinstance(delta, EngineFailure):
                raise delta
            remaining -= delta.finish_reason is not None
            yield delta

    def put(self, item: Delta | EngineFailure) -> None:
        """On the event loop only."""
        if isinstance(item, EngineFailure):
            self._open.clear()
        elif item.finish_reason is not None:
            self._open.discard(item.index)
        self._queue.put_nowait(item)

    def close(self) -> None:
        """Stop computing whatever is not finished."""
        if self._open:
            self._open.clear()
            self._worker.cancel(self)


@dataclass(slots=True)
class _Reader:
    """How far the event loop has been told about one sequence."""

    stream: Stream
    index: int
    submitted: float
    characters: int = 0
    tokens: int = 0

    def delta(self, sequence: Sequence) -> Delta | None:
        """What is new, or None when nothing can be said yet."""
        text = sequence.detokenizer
        added = text.text[self.characters : text.stable]
        if not added and sequence.finish_reason is None:
            return None
        self.characters = max(self.characters, text.stable)
        tokens = tuple(sequence.tokens[self.tokens :])
        logprobs = tuple(sequence.logprobs[self.tokens :])
        self.tokens = len(sequence.tokens)
        return Delta(
            self.index, added, tokens, logprobs, sequence.finish_reason, sequence.stop_reason
        )


class Worker:
    """Runs a batcher on its own thread, between `start` and `stop`."""

    def __init__(self, batcher: Batcher, metrics: Metrics, max_waiting: int = 256) -> None:
        self._batcher, self._metrics, self._max_waiting = batcher, metrics, max_waiting
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._readers: dict[Sequence, _Reader] = {}
        self._streams: list[Stream] = []  # of the event loop
        self._thread = threading.Thread(target=self._run, name="engine-compute", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        """Start computing; to be called on the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Finish the step under way, and end."""
        self._inbox.put(None)
        self._thread.join()

    def submit(self, requests: Items[GenerationRequest]) -> Stream:
        """Queue the answers of one HTTP request.

        Raises:
            ContextOverflow, AdapterNotFound: from the batcher, before anything is queued.
            Overloaded: too many wait already.
        """
        self._streams = [stream for stream in self._streams if stream.unfinished]
        unfinished = sum(stream.unfinished for stream in self._streams)
        if unfinished + len(requests) > self._batcher.max_batch_size + self._max_waiting:
            raise Overloaded(f"{unfinished} requests are waiting or running; try again later.")
        sequences = [self._batcher.prepare(request) for request in requests]
        stream = Stream(self, sequences)
        self._streams.append(stream)
        now = time.monotonic()
        readers = {s: _Reader(stream, index, now) for index, s in enumerate(sequences)}
        self._inbox.put(lambda: self._begin(readers))
        return stream

    def cancel(self, stream: Stream) -> None:
        """Give up the stream's unfinished answers."""
        self._inbox.put(lambda: self._end(stream))

    def _begin(self, readers: dict[Sequence, _Reader]) -> None:
        self._readers.update(readers)
        for sequence in readers:
            self._batcher.enqueue(sequence)

    def _end(self, stream: Stream) -> None:
        for sequence in stream.sequences:
            if self._readers.pop(sequence, None) is not None:
                self._batcher.cancel(sequence)
                self._metrics.finished(
                    FinishReason.ABORT, len(sequence.prompt), len(sequence.tokens)
                )

    def _run(self) -> None:
        while self._take_messages():
            try:
                self._hand_over(self._batcher.step())
            except Exception:  # the thread must outlive any single batch
                _log.exception("a step failed; its requests are given up")
                self._give_up()
            self._metrics.load = self._measure()

    def _take_messages(self) -> bool:
        """Apply what the event loop asked for, waiting only while idle; False to end the thread."""
        idle = not self._batcher.busy
        while idle or not self._inbox.empty():
            if idle:
                self._metrics.load = self._measure()
            message = self._inbox.get()
            if message is None:
                return False
            message()
            idle = not self._batcher.busy
        return True

    def _hand_over(self, progressed: list[Sequence]) -> None:
        news: list[tuple[Stream, Delta | EngineFailure]] = []
        now = time.monotonic()
        for sequence in progressed:
            reader = self._readers[sequence]
            self._metrics.token(len(sequence.tokens), len(sequence.prompt), now - reader.submitted)
            delta = reader.delta(sequence)
            if delta is not None:
                news.append((reader.stream, delta))
            if sequence.finish_reason is not None:
                del self._readers[sequence]
                self._metrics.finished(
                    sequence.finish_reason,
                    len(sequence.prompt),
                    len(sequence.tokens),
                    now - reader.submitted,
                )
        if news:
            self._post(news)

    def _give_up(self) -> None:
        failure = EngineFailure("The engine failed while computing this answer.")
        streams = {reader.stream for reader in self._readers.values()}
        for sequence in list(self._readers):
            self._batcher.cancel(sequence)
        self._readers.clear()
        self._post([(stream, failure) for stream in streams])

    def _post(self, news: list[tuple[Stream, Delta | EngineFailure]]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_deliver, news)

    def _measure(self) -> Load:
        running, waiting = self._batcher.running, self._batcher.waiting
        return Load(
            len(running),
            len(waiting),
            tuple(sorted({s.adapter.name for s in running if s.adapter})),
            tuple(sorted({s.adapter.name for s in waiting if s.adapter})),
        )


def _deliver(news: list[tuple[Stream, Delta | EngineFailure]]) -> None:
    for stream, item in news:
        stream.put(item)
