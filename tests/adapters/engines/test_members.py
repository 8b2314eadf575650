"""Replicas behind DNS names, and names that cannot be looked up."""

import asyncio

from adapters.engines.members import Addresses


def test_every_address_of_a_name_is_a_replica() -> None:
    found = asyncio.run(Addresses().behind(("http://localhost:8100",)))
    assert found <= {"http://127.0.0.1:8100", "http://[::1]:8100"} and found


def test_names_are_looked_up_again_and_a_failing_resolver_changes_nothing() -> None:
    zone = {"engines": {"10.0.0.1", "10.0.0.2"}, "more": {"fd00::1"}}

    async def lookup(host: str, _port: int) -> set[str]:
        if host not in zone:
            raise OSError("no such name")
        return zone[host]

    async def story() -> None:
        addresses = Addresses(lookup)
        urls = ("http://engines:8000", "http://more/base")
        first = {"http://10.0.0.1:8000", "http://10.0.0.2:8000", "http://[fd00::1]:80/base"}
        assert await addresses.behind(urls) == first
        zone["engines"] = {"10.0.0.2", "10.0.0.3"}
        del zone["more"]
        second = {"http://10.0.0.2:8000", "http://10.0.0.3:8000", "http://[fd00::1]:80/base"}
        assert await addresses.behind(urls) == second
        assert await addresses.behind(("http://unknown:1",)) == set()

    asyncio.run(story())
