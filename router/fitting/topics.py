"""What people bring to well-known domains: a router's knowledge before it has seen an example.

Examples teach a classifier the style of the place they come from. A list of a domain's subjects
knows no place; it is what carries over to text from elsewhere.
"""

import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("topics.toml")


def topics_of(labels: Iterable[str]) -> dict[str, list[str]]:
    """The entries of each label that is the name or an alias of a known domain."""
    known = _by_name()
    return {label: list(known[name]) for label in labels if (name := label.lower()) in known}


@cache
def _by_name() -> dict[str, tuple[str, ...]]:
    sections = tomllib.loads(FILE.read_text(encoding="utf-8"))
    entries = {
        name: tuple(" ".join(entry.split()) for entry in section["entries"].split(";"))
        for name, section in sections.items()
    }
    return {
        alias: entries[name]
        for name, section in sections.items()
        for alias in (name, *section["aliases"])
    }
