"""The choice of a replica: homes that stay, bounded load, and speed that counts."""

from collections import Counter

import pytest

from adapters.engines.balance import BOUND, choose
from adapters.engines.replica import Replica


def replicas(*loads: int) -> list[Replica]:
    """Replicas that are up, with so many requests each."""
    made = []
    for number, load in enumerate(loads):
        replica = Replica(f"http://10.0.0.{number}:8000")
        for _ in range(load):
            replica.begin(None)
        made.append(replica)
    return made


def test_the_only_one_is_chosen_whatever_its_load() -> None:
    (replica,) = replicas(100)
    assert choose([replica], "key").why == "only"


def test_a_conversation_stays_while_its_home_is_not_too_busy() -> None:
    several = replicas(0, 0, 0)
    homes = {key: choose(several, key).replica.url for key in map(str, range(300))}
    assert all(choose(several, key).replica.url == home for key, home in homes.items())
    shares = Counter(homes.values())
    assert all(70 <= shares[replica.url] <= 130 for replica in several)


def test_a_replica_that_leaves_moves_only_its_own() -> None:
    several = replicas(0, 0, 0)
    before = {key: choose(several, key).replica for key in map(str, range(200))}
    after = {key: choose(several[:2], key).replica for key in before}
    moved = [key for key in before if before[key] is not after[key]]
    assert moved == [key for key in before if before[key] is several[2]]


def test_one_conversation_cannot_drown_its_home() -> None:
    several = replicas(0, 0)
    for _ in range(40):
        choose(several, "the same prompt").replica.begin(None)
    busy = max(replica.load for replica in several)
    assert busy <= (1 + BOUND) * 20 + 1
    assert {choose(several, "the same prompt").why} <= {"affinity", "bounded"}


def test_without_a_key_the_least_busy_answers() -> None:
    several = replicas(3, 1, 2)
    choice = choose(several, None)
    assert (choice.replica, choice.why) == (several[1], "least_loaded")


def test_requests_of_other_gateways_count() -> None:
    several = replicas(1, 0)
    several[1].reported(5, frozenset())
    assert choose(several, None).replica is several[0]


def test_equally_busy_replicas_take_turns() -> None:
    several = replicas(0, 0)
    chosen = []
    for _ in range(4):
        replica = choose(several, None).replica
        replica.begin(None)
        replica.end(None)
        chosen.append(replica.url)
    assert chosen == [several[0].url, several[1].url] * 2


@pytest.mark.parametrize("key", [None, "key"])
def test_a_slow_replica_gets_less(key: str | None) -> None:
    several = replicas(0, 0)
    several[0].measured(0.3)
    several[1].measured(0.1)
    for number in range(60):
        choose(several, key and f"{key}{number}").replica.begin(None)
    assert several[0].load < 0.7 * several[1].load
