"""The choice of a replica: homes that stay, bounded load, and speed that counts."""

from collections import Counter

import pytest

from adapters.engines.balance import BOUND, Ring, choose, weigh
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


def chosen(several: list[Replica], key: str | None) -> tuple[Replica, str]:
    choice = choose(Ring(several), key, requests=sum(replica.load for replica in several))
    assert choice is not None
    return choice


def test_the_only_one_is_chosen_whatever_its_load() -> None:
    assert chosen(replicas(100), "key")[1] == "only"


def test_who_was_tried_is_not_chosen_again() -> None:
    several = replicas(0, 0, 0)
    tried: frozenset[str] = frozenset()
    for _ in several:
        choice = choose(Ring(several), "key", requests=0, without=tried)
        assert choice is not None and choice[0].url not in tried
        tried |= {choice[0].url}
    assert choose(Ring(several), "key", requests=0, without=tried) is None
    assert choose(Ring(several[:1]), "key", requests=0, without=tried) is None


def test_a_conversation_stays_while_its_home_is_not_too_busy() -> None:
    several = replicas(0, 0, 0)
    homes = {key: chosen(several, key)[0].url for key in map(str, range(300))}
    assert all(chosen(several, key)[0].url == home for key, home in homes.items())
    shares = Counter(homes.values())
    assert all(70 <= shares[replica.url] <= 130 for replica in several)


def test_a_replica_that_leaves_moves_only_its_own() -> None:
    several = replicas(0, 0, 0)
    before = {key: chosen(several, key)[0] for key in map(str, range(200))}
    after = {key: chosen(several[:2], key)[0] for key in before}
    moved = [key for key in before if before[key] is not after[key]]
    assert moved == [key for key in before if before[key] is several[2]]


def test_one_conversation_cannot_drown_its_home() -> None:
    several = replicas(0, 0)
    for _ in range(40):
        chosen(several, "the same prompt")[0].begin(None)
    busy = max(replica.load for replica in several)
    assert busy <= (1 + BOUND) * 20 + 1
    assert {chosen(several, "the same prompt")[1]} <= {"affinity", "bounded"}


def test_without_a_key_the_least_busy_answers() -> None:
    several = replicas(3, 1, 2)
    assert chosen(several, None) == (several[1], "least_loaded")


def test_requests_of_other_gateways_count() -> None:
    several = replicas(1, 0)
    several[1].reported(5, frozenset())
    assert chosen(several, None)[0] is several[0]


def test_equally_busy_replicas_take_turns() -> None:
    several = replicas(0, 0)
    order = []
    for _ in range(4):
        replica, _why = chosen(several, None)
        replica.begin(None)
        replica.end(None)
        order.append(replica.url)
    assert order == [several[0].url, several[1].url] * 2


@pytest.mark.parametrize("key", [None, "key"])
def test_a_slow_replica_gets_less(key: str | None) -> None:
    several = replicas(0, 0)
    several[0].measured(0.3)
    several[1].measured(0.1)
    weigh(several)
    for number in range(60):
        chosen(several, key and f"{key}{number}")[0].begin(None)
    assert several[0].load < 0.7 * several[1].load


def test_where_every_circuit_is_open_one_is_tried_all_the_same() -> None:
    several = replicas(0, 0)
    for replica in several:
        for _ in range(3):
            replica.breaker.failed()
    assert chosen(several, "key")[1] == "least_loaded"
