"""What a replica should hold, as a table a reader can check."""

from pathlib import Path

import pytest

from adapters.engines.residency import Desired, residents
from adapters.manifest import CONFIG, WEIGHTS, Manifest
from adapters.registry import Version
from tests.adapters.folders import facts

ABSENT = Path("/nowhere")


def desired(pinned: str, standby: str, others: str = "") -> Desired:
    """Versions by one letter each; all of them may be asked for."""
    return Desired(
        tuple(pinned), tuple(standby), {name: _version() for name in pinned + standby + others}
    )


def _version() -> Version:
    manifest = Manifest(
        **facts().model_dump(),
        version="d--v1-00000000",
        domain="d",
        number=1,
        created="",
        files=dict.fromkeys((CONFIG, WEIGHTS), "0" * 64),
    )
    return Version(manifest, ABSENT, retired=False)


@pytest.mark.parametrize(
    ("pinned", "standby", "busy", "demanded", "held", "used", "capacity", "expected"),
    [
        ("ab", "c", "", "", "", {}, 4, "abc"),
        ("ab", "c", "", "", "abcxy", {"x": 1, "y": 2}, 4, "abyx"),
        ("ab", "c", "", "z", "abcx", {"x": 1}, 4, "abzx"),
        ("ab", "c", "", "", "abcx", {}, 4, "abcx"),
        ("ab", "c", "", "z", "abc", {"c": 5}, 3, "abz"),
        ("ab", "c", "", "z", "ab", {"z": 9}, 2, "ab"),
        ("abc", "", "", "", "", {}, 2, "ab"),
        ("abc", "", "", "c", "ab", {"a": 1, "b": 2}, 2, "cb"),
        ("a", "", "", "", "aq", {"q": 5}, 4, "a"),
        ("a", "", "x", "zy", "axw", {"w": 9}, 3, "axz"),
        ("", "", "", "", "", {}, 1, ""),
    ],
    ids=[
        "pinned and standby fit",
        "cold standby gives way to what is used",
        "demanded comes in, standby goes",
        "a cold one stays while there is room",
        "one place left: the demanded one has it",
        "pinned ones are never evicted",
        "too many pinned: the first ones",
        "too many pinned: they take turns",
        "what is not servable goes",
        "what answers stays, who waited longest is next, however recent others are",
        "nothing",
    ],
)
def test_residents(
    pinned: str,
    standby: str,
    busy: str,
    demanded: str,
    held: str,
    used: dict[str, float],
    capacity: int,
    expected: str,
) -> None:
    others = "".join(set(demanded + held) - {"q"} - set(pinned + standby))
    found = residents(
        desired(pinned, standby, others),
        busy=busy,
        demanded=demanded,
        held=held,
        used=used,
        capacity=capacity,
    )
    assert "".join(found) == expected
