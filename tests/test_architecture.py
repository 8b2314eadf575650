"""Who may import whom (pyproject.toml, [tool.importlinter]), and what that is for: no torch in the
gateway."""

import subprocess
import sys
from pathlib import Path

import pytest
from importlinter import cli

from tests.conftest import ROOT


def test_import_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert cli.lint_imports() == cli.EXIT_STATUS_SUCCESS


def test_the_gateway_starts_without_torch() -> None:
    script = (
        "import sys, gateway.app, gateway.cli; "
        "heavy = 'torch', 'transformers', 'peft', 'sklearn', 'scipy'; "
        "print([module for module in heavy if module in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["gateway", "router", "adapters", "retrieval", "training"])
def test_every_module_says_what_it_is_for(package: str) -> None:
    for path in Path(ROOT / package).rglob("*.py"):
        first = path.read_text().lstrip()
        assert first.startswith(('"""', 'r"""')), f"{path} has no docstring"
