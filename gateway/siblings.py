"""What a worker knows of the others (`server.workers`): their counts, and what their journals hold.

Each keeps its series in a file, so whoever is asked for `/metrics` adds files up and waits for
nobody. A worker that takes over goes on from the file of the one before it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from adapters.journal import Journal
from gateway.metrics import Series
from gateway.telemetry import Telemetry
from gateway.workers import Place

logger = logging.getLogger(__name__)

_FRESH_SECONDS = 5.0
_ANSWER_SECONDS = 2.0


class Siblings:
    """The other workers, seen from the one in `place`."""

    def __init__(self, place: Place, telemetry: Telemetry, journal: Journal) -> None:
        self._place = place
        self._telemetry = telemetry
        self._journal = journal
        self._writing = asyncio.Lock()

    @asynccontextmanager
    async def joined(self) -> AsyncIterator[None]:
        """Take the place with its counts, and answer the others until the block ends."""
        if self._place.counts.exists():
            before = orjson.loads(self._place.counts.read_bytes())
            self._telemetry.absorb(before, gauges=False)
        await self.share()
        door = await asyncio.start_unix_server(self._answer, self._place.door)
        try:
            yield
        finally:
            door.close()
            await self.share()

    async def share(self) -> None:
        """Bring this worker's file up to date."""
        async with self._writing:
            series = orjson.dumps(self._telemetry.series())
            try:
                await asyncio.to_thread(_replace, self._place.counts, series)
            except OSError as exc:
                logger.warning("this worker's counts stay as old as they are: %s", exc)

    async def metrics(self) -> bytes:
        """Everybody's series, as text.

        Ours go through the file as well: a total that was told has been written down first, so it
        never falls, whoever dies.
        """
        await self.share()
        whole = Telemetry()
        for series, gauges in await asyncio.to_thread(_read, self._place.everybody()):
            whole.absorb(series, gauges=gauges)
        return whole.render()

    async def hold(self, record_id: str) -> bool:
        """Whether a record still waits for the store in the journal of another worker.

        Raises:
            TimeoutError: one of them is too busy to say.
        """
        async with asyncio.timeout(_ANSWER_SECONDS):
            asked = [_ask(door, record_id) for door in self._place.siblings()]
            return any(await asyncio.gather(*asked))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        record_id = (await reader.read()).decode()
        writer.write(b"yes" if self._journal.holds(record_id) else b"no")
        writer.close()


async def _ask(door: Path, record_id: str) -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(door)
        try:
            writer.write(record_id.encode())
            writer.write_eof()
            return await reader.read() == b"yes"
        finally:
            writer.close()
    except OSError:
        return False  # it has ended; what it held is on its way to the store


def _replace(path: Path, content: bytes) -> None:
    """Readers see the old file or the new one, whole."""
    aside = path.with_suffix(".part")
    aside.write_bytes(content)
    aside.rename(path)


def _read(paths: list[Path]) -> list[tuple[Series, bool]]:
    """Series of each file, and whether its gauges are of now: those of a dead worker are not."""
    oldest = time.time() - _FRESH_SECONDS
    return [(orjson.loads(p.read_bytes()), p.stat().st_mtime > oldest) for p in paths]
