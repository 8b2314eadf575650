"""Many units hashed by several processes: whether they agree, and how even the arms come out.

python -m tests.adapters.experiments.hashing 10000000
"""

import hashlib
import json
import math
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.adapters.experiments.designs import split

WEIGHTS = (1.0, 2.0, 3.0, 4.0)
PROCESSES = 4


def assigned(start: int, end: int) -> tuple[Counter[str], str]:
    """Units by arm, and the digest of who is where."""
    halves = split(*WEIGHTS)
    counts: Counter[str] = Counter()
    digest = hashlib.blake2b()
    for number in range(start, end):
        arm = halves.assign(f"user-{number}").arm.name
        counts[arm] += 1
        digest.update(arm.encode())
    return counts, digest.hexdigest()


def same_everywhere(count: int) -> bool:
    """Whether every process assigns the same units to the same arms."""
    with _processes() as pool:
        found = pool.map(assigned, [0] * PROCESSES, [count] * PROCESSES)
        return len({digest for _, digest in found}) == 1


def evenness(count: int) -> tuple[float, Counter[str]]:
    """The p-value of χ² against the weights, and units by arm; each process takes its part."""
    edges = [count * part // PROCESSES for part in range(PROCESSES + 1)]
    counts: Counter[str] = Counter()
    with _processes() as pool:
        for part, _ in pool.map(assigned, edges[:-1], edges[1:]):
            counts += part
    expected = {f"arm{n}": count * w / sum(WEIGHTS) for n, w in enumerate(WEIGHTS)}
    statistic = sum((counts[arm] - many) ** 2 / many for arm, many in expected.items())
    return _chi_square_p(statistic), counts


def _chi_square_p(statistic: float) -> float:
    """The chance of a larger χ² with three degrees of freedom, in closed form."""
    tail = math.sqrt(2 * statistic / math.pi) * math.exp(-statistic / 2)
    return math.erfc(math.sqrt(statistic / 2)) + tail


def _processes() -> ProcessPoolExecutor:
    # Started afresh, as gateways are: a fork would share what it must not depend on.
    return ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn"))


if __name__ == "__main__":
    units = int(sys.argv[1])
    began = time.perf_counter()
    p, arms = evenness(units)
    spent = time.perf_counter() - began
    report = {"units": units, "p": p, "arms": arms, "seconds": round(spent, 1)}
    sys.stdout.write(json.dumps({**report, "same": same_everywhere(min(units, 100_000))}) + "\n")
