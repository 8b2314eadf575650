"""Where a client runs and whom it trusts: an environment of its own for what is not ours, and
certificates of a made-up authority."""

import shutil
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.installed import NotInstalled, python_environment, run

# A figure belongs to a version. The event loop is the gateway's own.
_FOREIGN = {"pyreqwest": ("pyreqwest==0.15.1", f"uvloop=={version('uvloop')}")}


def python_of(name: str, home: Path) -> Path:
    """The interpreter that has this client, made on first use; raises NotInstalled."""
    if name not in _FOREIGN:
        return Path(sys.executable)
    python_environment(home / name, _FOREIGN[name], name)
    return home / name / "bin" / "python"


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
        run(command, "the certificates cannot be made")
    return folder
