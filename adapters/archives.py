"""Unpacking an adapter that came as one file: `.tar`, `.tar.gz`, `.tgz` or `.zip`.

Nothing an archive says is believed: bytes are counted as they come out, names are plain, and what
is neither a regular file nor a folder is refused. Tar headers are read here because `tarfile` takes
extended headers of any size and depth into memory before it shows the member they belong to.
"""

import gzip
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from adapters.errors import CorruptAdapter
from adapters.files import MAX_BYTES, MAX_FILES, check_name, is_plain

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")

_CHUNK = 2**20
_MAX_ENTRIES = 4 * MAX_FILES
_MAX_NAME_BYTES = 64 * 2**10
_BLOCK = 512
_EXTENDED = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_ZIP_END = 22
_ZIP_COMMENT = 2**16
_MAX_ZIP_DIRECTORY = 2**20


@dataclass(frozen=True, slots=True)
class _Member:
    """An entry of an archive; `problem` is why it must not be unpacked."""

    name: str
    is_folder: bool
    problem: str
    content: Iterator[bytes]


def unpack(archive: Path, folder: Path, *, limit: int = MAX_BYTES) -> None:
    """Write an archive's files into an empty folder, without the one folder they may lie in.

    Args:
        limit: most bytes that may come out.

    Raises:
        CorruptAdapter: names the archive, and the member that is at fault.
    """
    if not archive.name.lower().endswith(SUFFIXES):
        raise CorruptAdapter(f"{archive}: expected a folder or one of {' '.join(SUFFIXES)}")
    members = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
    try:
        _write(members(archive), archive, folder, limit)
    except (
        OSError,  # also gzip.BadGzipFile
        EOFError,
        ValueError,  # also UnicodeDecodeError
        RuntimeError,  # zipfile: encryption; also NotImplementedError
        OverflowError,
        struct.error,
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
    ) as exc:
        raise CorruptAdapter(f"{archive}: cannot be unpacked ({exc})") from exc


def _write(members: Iterator[_Member], archive: Path, folder: Path, limit: int) -> None:
    seen: set[str] = set()
    homes: set[str] = set()
    for member in members:
        where = f"{archive}: {member.name!r}"
        if member.problem:
            raise CorruptAdapter(f"{where} {member.problem}")
        home, name = _place(member, where)
        homes.add(home)
        if len(homes) > 1:
            raise CorruptAdapter(f"{where}: files must lie in one folder, found {sorted(homes)}")
        if member.is_folder:
            continue
        check_name(name, str(archive))
        if name.lower() in seen:
            raise CorruptAdapter(f"{where} occurs twice")
        seen.add(name.lower())
        if len(seen) > MAX_FILES:
            raise CorruptAdapter(f"{archive}: more than {MAX_FILES} files")
        with (folder / name).open("xb") as file:
            for chunk in member.content:
                limit -= len(chunk)
                if limit < 0:
                    raise CorruptAdapter(f"{where} unpacks to more than is accepted")
                file.write(chunk)
    if not seen:
        raise CorruptAdapter(f"{archive}: holds no files")


def _place(member: _Member, where: str) -> tuple[str, str]:
    """The folder an entry lies in ("" for none) and the file's name ("" for a folder)."""
    path = member.name.removeprefix("./")
    if member.is_folder:
        path = path.removesuffix("/") + "/" if path.strip("./") else ""
    if path.startswith("/"):
        raise CorruptAdapter(f"{where} is an absolute path")
    home, _, name = path.rpartition("/")
    if home and not is_plain(home):
        raise CorruptAdapter(f"{where} does not lie in one plain folder")
    return home, name


def _tar_members(archive: Path) -> Iterator[_Member]:
    if archive.name.lower().endswith(".tar"):
        with archive.open("rb") as file:
            yield from _tar_entries(file)
    else:
        with gzip.open(archive, "rb") as stream:
            yield from _tar_entries(cast(BinaryIO, stream))


def _tar_entries(stream: BinaryIO) -> Iterator[_Member]:
    longer = ""  # the next entry's name, when its header has no room for it
    for _ in range(_MAX_ENTRIES):
        block = stream.read(_BLOCK)
        if block and not block.strip(b"\0"):
            return
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        if header.size < 0:
            raise ValueError(f"{header.name!r} has a negative size")
        content = _exactly(stream, header.size)
        if header.type in (*_EXTENDED, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
            if header.size > _MAX_NAME_BYTES:
                raise ValueError(f"an extended header of {header.size} bytes")
            extension = b"".join(content)
            if header.type in _EXTENDED:
                longer = _pax_name(extension) or longer
            elif header.type == tarfile.GNUTYPE_LONGNAME:
                longer = extension.rstrip(b"\0").decode()
        else:
            name, longer = longer or header.name, ""
            regular = header.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
            is_folder = header.type == tarfile.DIRTYPE and header.size == 0
            problem = "" if regular or is_folder else "is neither a regular file nor a folder"
            yield _Member(name, is_folder, problem, content)
        b"".join(_exactly(stream, -header.size % _BLOCK))
    raise ValueError(f"more than {_MAX_ENTRIES} entries")


def _exactly(stream: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        chunk = stream.read(min(size, _CHUNK))
        if not chunk:
            raise EOFError("it ends early")
        size -= len(chunk)
        yield chunk


def _pax_name(records: bytes) -> str:
    """The name in a pax header's `LENGTH KEY=VALUE` lines, if there is one."""
    name = ""
    while records:
        digits, _, _ = records.partition(b" ")
        length = int(digits)
        if length <= len(digits):
            raise ValueError("a pax header with a wrong length")
        key, _, value = records[len(digits) + 1 : length - 1].partition(b"=")
        if key in (b"size", b"linkpath") or key.startswith(b"GNU.sparse"):
            raise ValueError(f"the pax header {key.decode()!r} is not accepted")
        if key == b"path":
            name = value.decode()
        records = records[length:]
    return name


def _zip_members(archive: Path) -> Iterator[_Member]:
    _check_zip_directory(archive)
    with zipfile.ZipFile(archive) as packed:
        entries = packed.infolist()
        if len(entries) > _MAX_ENTRIES:
            raise ValueError(f"more than {_MAX_ENTRIES} entries")
        for entry in entries:
            name = entry.orig_filename  # not `filename`, which ends at a NUL and may be empty
            is_folder = name.endswith("/")
            problem = _zip_problem(entry, is_folder)
            yield _Member(name, is_folder, problem, _zip_content(packed, entry))


def _zip_problem(entry: zipfile.ZipInfo, is_folder: bool) -> str:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFDIR if is_folder else stat.S_IFREG):
        return "is neither a regular file nor a folder"
    if entry.flag_bits & 0x1:
        return "is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in a way that is not accepted"
    return ""


def _zip_content(packed: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    with packed.open(entry) as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _check_zip_directory(archive: Path) -> None:
    """Refuse a directory that is too large, before `zipfile` makes an object of each entry."""
    with archive.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _ZIP_END - _ZIP_COMMENT - 20))
        tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _ZIP_END:
        raise zipfile.BadZipFile("not a zip file, or cut short")
    (length,) = struct.unpack_from("<I", tail, at + 12)
    if length > _MAX_ZIP_DIRECTORY or b"PK\6\7" in tail[max(0, at - 20) : at]:
        raise zipfile.BadZipFile(f"its directory of {length} bytes is too large")
