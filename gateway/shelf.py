"""What arms of experiments may name beside adapter versions: the configured tiers, and the routers
and indexes that lie in the artifact root. Opens none of them."""

import re
from collections.abc import Iterable
from pathlib import Path

from adapters.experiments.shelf import Shelf
from adapters.packs import Pack
from gateway.settings import Settings

_VERSION = re.compile(r"v([0-9]{1,9})-[0-9a-f]{8}")  # of routers and of indexes


def shelf_of(settings: Settings, packs: Iterable[Pack]) -> Shelf:
    """As of now; reads folders, so it belongs in a thread."""
    root = settings.artifact_root
    checks = {pack.name: frozenset(check.name for check in pack.checks) for pack in packs}
    return Shelf(
        checks=checks,
        tiers=tuple(target.name for target in settings.targets),
        routers=_versions(root / "router"),
        indexes={domain: _versions(root / "indexes" / domain) for domain in checks},
    )


def _versions(folder: Path) -> tuple[str, ...]:
    """The versions in a folder that are whole, the oldest first."""
    names = (file.parent.name for file in folder.glob("v*/manifest.json"))
    numbers = {name: int(match[1]) for name in names if (match := _VERSION.fullmatch(name))}
    return tuple(sorted(numbers, key=lambda name: numbers[name]))
