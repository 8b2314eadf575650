"""The documentation names every setting, metric and verb there is."""

import re
from collections.abc import Iterator
from itertools import chain

import pytest
from pydantic import BaseModel

from gateway.settings import Settings
from gateway.telemetry import Telemetry
from tests.conftest import ROOT
from tests.test_command import VERBS


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of every setting."""
    for name, field in model.model_fields.items():
        annotation = field.annotation
        inner = getattr(annotation, "__args__", (annotation,))[0]
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from settings(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_every_setting_is_documented_and_described() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    for name in settings(Settings):
        assert name == "config_file" or f"`{name}`" in text, name


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs" / "operators.md").read_text()
    exposed = Telemetry().render().decode().splitlines()
    for line in exposed:
        if line.startswith("# TYPE") and not line.split()[2].endswith("_created"):
            assert line.split()[2] in text, line


@pytest.mark.parametrize("verb", VERBS.split())
def test_every_verb_is_documented(verb: str) -> None:
    pages = chain([ROOT / "README.md"], (ROOT / "docs").glob("*.md"))
    assert any(f"turnout {verb}" in page.read_text() for page in pages)


def test_links_lead_somewhere() -> None:
    for page in chain(ROOT.glob("*.md"), (ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"
