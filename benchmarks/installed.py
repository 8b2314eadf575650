"""Software of others, installed once for each set of versions, in a folder of its own."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_READY = ".ready"


class NotInstalled(Exception):
    """Something is not here and could not be fetched; the message says what to do."""


def python_environment(folder: Path, requirements: Sequence[str], name: str) -> None:
    """A virtual environment with these packages; raises NotInstalled."""
    if _is_ready(folder, requirements):
        return
    shutil.rmtree(folder, ignore_errors=True)
    problem = f"{name} cannot be installed"
    run([sys.executable, "-m", "venv", str(folder)], problem)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    run([*pip, "--disable-pip-version-check", *requirements], problem)
    _mark(folder, requirements)


def node_packages(folder: Path, requirements: Sequence[str], name: str) -> None:
    """A folder with these packages of npm; raises NotInstalled."""
    if shutil.which("npm") is None:
        raise NotInstalled(f"{name} needs Node: apt-get install nodejs npm")
    if _is_ready(folder, requirements):
        return
    folder.mkdir(parents=True, exist_ok=True)
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--legacy-peer-deps"]
    run([*install, "--prefix", str(folder), *requirements], f"{name} cannot be installed")
    _mark(folder, requirements)


def run(command: Sequence[str], problem: str) -> None:
    """Run a command to its end; raises NotInstalled with its last words."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.lower().startswith("error")]
        last = said or done.stderr.strip().splitlines() or ["no message"]
        raise NotInstalled(f"{problem}: {last[-1][:300]}")


def _is_ready(folder: Path, requirements: Sequence[str]) -> bool:
    """Whether these were installed there to their end."""
    marker = folder / _READY
    return marker.exists() and marker.read_text(encoding="utf-8") == "\n".join(requirements)


def _mark(folder: Path, requirements: Sequence[str]) -> None:
    (folder / _READY).write_text("\n".join(requirements), encoding="utf-8")
