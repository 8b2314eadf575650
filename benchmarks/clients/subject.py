"""One client in a process of its own: a check, or a load whose cost is this process's.

    python -m benchmarks.clients.subject CLIENT check NAME TLS_FOLDER
    python -m benchmarks.clients.subject CLIENT load URL BODIES CONNECTIONS SECONDS whole|streams

Prints one JSON object.
"""

import asyncio
import json
import resource
import sys
import time
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import uvloop

from benchmarks.clients.checks import CHECKS
from benchmarks.clients.client import Client, ClientFailed, client_class
from benchmarks.clients.expect import Bench, Wrong

CHECK_SECONDS, WARM_UP_SECONDS = 20, 0.3


async def check(name: str, story: str, tls: Path) -> dict[str, object]:
    """Whether the client passes, and what was seen."""
    bench = Bench(client_class(name), tls)
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return {"ok": True, "said": await CHECKS[story](bench)}
    except (Wrong, ClientFailed) as exc:
        return {"ok": False, "said": str(exc)}
    except TimeoutError:
        return {"ok": False, "said": f"not over after {CHECK_SECONDS} s"}
    finally:
        await bench.close()


@dataclass(slots=True)
class _Load:
    """A closed loop: every worker asks again once it is answered, until it is `over`."""

    client: Client
    url: str
    bodies: "cycle[bytes]"
    streams: bool
    answers: int = 0
    events: int = 0
    over: bool = False

    async def work(self) -> None:
        while not self.over:
            if self.streams:
                async for piece in self.client.stream(self.url, next(self.bodies)):
                    self.events += piece.count(b"\n\n")
            else:
                status, _ = await self.client.whole(self.url, next(self.bodies))
                if status != 200:
                    raise ClientFailed(f"the mock answered {status}")
            self.answers += 1


async def load(
    name: str, url: str, bodies: "cycle[bytes]", connections: int, seconds: float, kind: str
) -> dict[str, object]:
    """Answers and events a second, and this process's microseconds of processor time for each."""
    running = _Load(client_class(name)(), url, bodies, streams=kind == "streams")
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(running.work())
        await asyncio.sleep(WARM_UP_SECONDS)
        answers, events, begun, cpu = running.answers, running.events, time.monotonic(), _cpu()
        await asyncio.sleep(seconds)
        elapsed, cpu = time.monotonic() - begun, _cpu() - cpu
        answers, events = running.answers - answers, running.events - events
        running.over = True
    await running.client.close()
    count = events if running.streams else answers
    return {"per_second": count / elapsed, "microseconds": cpu * 1e6 / count if count else 0.0}


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    name, what, *rest = sys.argv[1:]
    if what == "check":
        found = uvloop.run(check(name, rest[0], Path(rest[1])))
    else:
        url, bodies, connections, seconds, kind = rest
        lines = cycle(Path(bodies).read_bytes().splitlines())
        found = uvloop.run(load(name, url, lines, int(connections), float(seconds), kind))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
