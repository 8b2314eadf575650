"""Where a client runs and whom it trusts: an environment of its own for what is not ours, and
certificates of a made-up authority."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

_READY = ".ready"
# A figure belongs to a version. The event loop is the gateway's own.
_FOREIGN = {"pyreqwest": ("pyreqwest==0.15.1", f"uvloop=={version('uvloop')}")}


class NotInstalled(Exception):
    """A client is not here and could not be fetched; the message says why."""


def python_of(name: str, home: Path) -> Path:
    """The interpreter that has this client, made on first use; raises NotInstalled."""
    if name not in _FOREIGN:
        return Path(sys.executable)
    folder, wanted = home / name, "\n".join(_FOREIGN[name])
    python, marker = folder / "bin" / "python", folder / _READY
    if marker.exists() and marker.read_text(encoding="utf-8") == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder)], name)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *_FOREIGN[name]], name)
    marker.write_text(wanted, encoding="utf-8")
    return python


def version_of(name: str) -> str:
    """The client's version; ours is the project's."""
    pinned = dict(wanted.split("==") for wanted in _FOREIGN.get(name, ()))
    return pinned.get(name) or version(name)


def certificates(folder: Path) -> Path:
    """An authority, and a server's certificate by it for `localhost`, good for a day."""
    if shutil.which("openssl") is None:
        raise NotInstalled("the certificates cannot be made: apt-get install openssl")
    folder.mkdir(parents=True, exist_ok=True)
    request = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    (folder / "names").write_text("subjectAltName=DNS:localhost\n", encoding="utf-8")
    commands = (
        [*request, "-x509", "-days", "1", "-subj", "/CN=authority"]
        + ["-keyout", f"{folder}/authority.key", "-out", f"{folder}/authority.pem"],
        [*request, "-subj", "/CN=localhost"]
        + ["-keyout", f"{folder}/key.pem", "-out", f"{folder}/request"],
        ["openssl", "x509", "-req", "-days", "1", "-in", f"{folder}/request", "-CAcreateserial"]
        + ["-CA", f"{folder}/authority.pem", "-CAkey", f"{folder}/authority.key"]
        + ["-extfile", f"{folder}/names", "-out", f"{folder}/certificate.pem"],
    )
    for command in commands:
        _run(command, "the certificate")
    return folder


def _run(command: Sequence[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines() or ["no message"]
        raise NotInstalled(f"{name} cannot be made: {last[-1][:300]}")
