"""Files of an adapter version: which may lie in its folder, and reading them without surprises.

Only names, kinds, sizes and digests; what the files say is for `lora` and `manifest`.
"""

import hashlib
import os
import re
import stat
from pathlib import Path

from adapters.errors import CorruptAdapter

# Plain ASCII names, nothing hidden: the same on every filesystem and object store.
PLAIN_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.+@ -]{0,254}"
MAX_FILES = 64
# All files of a version together: several times a rank-64 LoRA on every layer of a 70B model.
MAX_BYTES = 4 * 2**30
_MAY_RUN_CODE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".py", ".pyc", ".so")


def check_files(folder: Path) -> None:
    """Refuse a folder that holds anything but a few plain files that cannot run code.

    Hidden files are let through: they are never read, and never published.
    """
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: entry.stat(follow_symlinks=False) for entry in entries}
    except OSError as exc:
        raise CorruptAdapter(f"{folder}: cannot be read ({exc.strerror})") from exc
    if len(found) > MAX_FILES + 1:  # and the manifest
        raise CorruptAdapter(f"{folder}: {len(found)} files, at most {MAX_FILES} are accepted")
    for name, status in found.items():
        if not stat.S_ISREG(status.st_mode):
            raise CorruptAdapter(f"{folder}: {name!r} is not a regular file; leave it out")
        check_name(name.removeprefix("."), f"{folder}")
    size = sum(status.st_size for status in found.values())
    if size > MAX_BYTES:
        raise CorruptAdapter(f"{folder}: {size} bytes, at most {MAX_BYTES} are accepted")


def check_name(name: str, where: str) -> None:
    """Refuse a file name that is not plain, or whose kind may run code when loaded."""
    if not is_plain(name):
        raise CorruptAdapter(f"{where}: {name!r} is not a plain file name")
    if name.lower().endswith(_MAY_RUN_CODE):
        raise CorruptAdapter(
            f"{where}: {name} may run code when loaded; only safetensors is accepted, leave it out"
        )


def is_plain(name: str) -> bool:
    """Whether this is a file name without folders, control characters or a leading dot."""
    return re.fullmatch(PLAIN_NAME, name) is not None


def read_bounded(path: Path, limit: int) -> bytes:
    """A small regular file's bytes; CorruptAdapter when it is none, or larger than `limit`."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise CorruptAdapter(f"{path} is not a regular file")
        if status.st_size > limit:
            raise CorruptAdapter(f"{path}: {status.st_size} bytes, at most {limit} are accepted")
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as exc:
        raise CorruptAdapter(f"{path}: cannot be read ({exc.strerror})") from exc


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
