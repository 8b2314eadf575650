"""Archives: what a person would send is unpacked, what an attacker would send is refused."""

import gzip
import io
import os
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.archives import unpack
from adapters.artifacts import Artifacts
from adapters.cli.versions import adapters
from adapters.errors import CorruptAdapter
from adapters.registry import Registry
from adapters.store import Store
from tests.adapters.folders import MODULE, write_adapter, write_base

NAMES = ["adapter_config.json", "adapter_model.safetensors"]
KINDS = [".tar", ".tar.gz", ".tgz", ".zip"]
TARS = [".tar", ".tar.gz"]


def pack(archive: Path, members: dict[str, bytes], **options: int) -> Path:
    """An archive of regular files, by its suffix."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in members.items():
                packed.writestr(name, content)
        return archive
    mode = "w" if archive.suffix == ".tar" else "w:gz"
    with tarfile.open(archive, mode, **options) as packed:  # type: ignore[call-overload]
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mtime = 1.5
            packed.addfile(entry, io.BytesIO(content))
    return archive


def unpacked(archive: Path, **options: int) -> dict[str, bytes]:
    folder = archive.parent / f"unpacked-{archive.name}"
    folder.mkdir()
    unpack(archive, folder, **options)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prefix", ["", "./", "my-adapter/", "./my-adapter/"])
def test_flat_or_in_one_folder(tmp_path: Path, kind: str, prefix: str) -> None:
    members = {f"{prefix}{name}": name.encode() * 100_000 for name in NAMES}
    archive = pack(tmp_path / f"a{kind}", members)
    assert unpacked(archive) == {name: name.encode() * 100_000 for name in NAMES}


@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("length", [50, 100, 200])
def test_long_names_in_every_tar_format(tmp_path: Path, layout: int, length: int) -> None:
    home, name = "d" * 100, "n" * (length if layout != tarfile.USTAR_FORMAT else 100)
    archive = pack(tmp_path / "a.tar", {f"{home}/{name}": b"x"}, format=layout)
    assert unpacked(archive) == {name: b"x"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_usual_tools_write(tmp_path: Path, kind: str) -> None:
    write_adapter(tmp_path / "mine")
    python = [sys.executable, "-m"]
    command = {
        ".tar": ["tar", "-cf", "a.tar", "mine"],
        ".tar.gz": ["tar", "-czf", "a.tar.gz", "mine"],
        ".tgz": [*python, "tarfile", "-c", "a.tgz", "mine"],
        ".zip": [*python, "zipfile", "-c", "a.zip", "mine"],
    }
    subprocess.run(command[kind], cwd=tmp_path, check=True)
    assert list(unpacked(tmp_path / f"a{kind}")) == NAMES


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/etc/passwd", "absolute"),
        ("/passwd", "absolute"),
        ("../up", "one plain folder"),
        ("a/../../up", "one plain folder"),
        ("a/b/deep", "one plain folder"),
        ("..", "plain"),
        ("a\\b", "plain"),
        ("C:\\x", "plain"),
        (".hidden", "plain"),
        (".git/config", "one plain folder"),
        ("a\nb", "plain"),
        ("é", "plain"),
        ("adapter_model.bin", "may run code"),
        ("evil.py", "may run code"),
    ],
)
def test_names_that_lead_elsewhere(tmp_path: Path, kind: str, name: str, said: str) -> None:
    archive = pack(tmp_path / f"a{kind}", {name: b"x"})
    with pytest.raises(CorruptAdapter, match=said) as raised:
        unpacked(archive)
    assert archive.name in str(raised.value)
    assert list(tmp_path.rglob("up")) == [] and list(tmp_path.rglob("deep")) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicates_many_folders_many_files_and_none(tmp_path: Path, kind: str) -> None:
    cases = {
        "occurs twice": {"x": b"1", "X": b"2"},
        "in one folder": {"a/x": b"1", "b/y": b"2"},
        "found": {"x": b"1", "b/y": b"2"},
        "more than 64 files": {f"x{number}": b"" for number in range(65)},
        "no files": {},
    }
    for number, (said, members) in enumerate(cases.items()):
        with pytest.raises(CorruptAdapter, match=said):
            unpacked(pack(tmp_path / f"{number}{kind}", members))


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_are_counted_as_they_come_out(tmp_path: Path, kind: str) -> None:
    archive = pack(tmp_path / f"a{kind}", {"x": b"1" * 600_000, "y": b"2" * 600_000})
    assert len(unpacked(archive, limit=1_200_000)) == 2
    (tmp_path / "b").mkdir()
    with pytest.raises(CorruptAdapter, match="'y' unpacks to more than is accepted"):
        unpack(archive, tmp_path / "b", limit=1_199_999)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_is_stopped_early(tmp_path: Path, kind: str) -> None:
    archive = pack(tmp_path / f"a{kind}", {"x": bytes(50 * 2**20)})
    with pytest.raises(CorruptAdapter, match="more than is accepted"):
        unpacked(archive, limit=2**20)
    (left,) = (tmp_path / f"unpacked-a{kind}").iterdir()
    assert left.stat().st_size <= 2**20


def test_a_zip_that_lies_about_its_sizes(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"x": bytes(2**20)})
    content = bytearray(archive.read_bytes())
    at = content.rfind(b"PK\1\2")
    struct.pack_into("<I", content, at + 24, 10)  # the unpacked size in the directory
    archive.write_bytes(content)
    with pytest.raises(CorruptAdapter, match=r"a\.zip"):
        unpacked(archive)


@pytest.mark.parametrize("kind", TARS)
@pytest.mark.parametrize(
    "type_",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_SPARSE,
        tarfile.GNUTYPE_LONGLINK,
        b"Z",
    ],
)
def test_only_files_and_folders_in_a_tar(tmp_path: Path, kind: str, type_: bytes) -> None:
    archive = tmp_path / f"a{kind}"
    entry = tarfile.TarInfo("adapter_config.json")
    entry.type, entry.linkname = type_, "/etc/passwd"
    with tarfile.open(archive, "w:gz" if kind.endswith("gz") else "w") as packed:
        packed.addfile(entry)
    with pytest.raises(CorruptAdapter, match="neither a regular file nor a folder"):
        unpacked(archive)


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_only_files_and_folders_in_a_zip(tmp_path: Path, mode: int) -> None:
    entry = zipfile.ZipInfo("adapter_config.json")
    entry.external_attr = (mode | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(entry, "/etc/passwd")
    with pytest.raises(CorruptAdapter, match="neither a regular file nor a folder"):
        unpacked(tmp_path / "a.zip")


def test_encrypted_and_oddly_compressed_zips(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"x": b"x"})
    content = bytearray(archive.read_bytes())
    for signature, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.rfind(signature) + at] |= 1
    archive.write_bytes(content)
    with pytest.raises(CorruptAdapter, match="'x' is encrypted"):
        unpacked(archive)
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_LZMA) as packed:
        packed.writestr("x", b"x")
    with pytest.raises(CorruptAdapter, match="'x' is compressed in a way"):
        unpacked(tmp_path / "b.zip")


def test_a_zip_name_that_ends_early(tmp_path: Path) -> None:
    for number, name in enumerate((b"x\0y.json", b"\0/y.json")):
        archive = pack(tmp_path / f"{number}.zip", {"x_y.json": b"{}"})
        archive.write_bytes(archive.read_bytes().replace(b"x_y.json", name))
        with pytest.raises(CorruptAdapter, match="plain"):
            unpacked(archive)


def test_a_huge_zip_directory_is_not_read(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for number in range(20_000):
            packed.writestr(f"{number:050}", b"")
    with pytest.raises(CorruptAdapter, match="directory of 19"):
        unpacked(archive)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_huge_extended_header_is_not_read(tmp_path: Path, kind: bytes) -> None:
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = kind, 2**33
    (tmp_path / "a.tar").write_bytes(entry.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(CorruptAdapter, match="an extended header of 8589934592 bytes"):
        unpacked(tmp_path / "a.tar")


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (b"14 size=99999\n", "'size' is not accepted"),
        (b"18 linkpath=/etc/x\n", "'linkpath' is not accepted"),
        (b"22 GNU.sparse.major=1\n", "'GNU.sparse.major' is not accepted"),
        (b"0 path=x\n", "wrong length"),
        (b"-9 path=x\n", "wrong length"),
        (b"path=x\n", "cannot be unpacked"),
        (b"13 path=../x\n", "plain"),
        (b"10 path=\xff\n", "cannot be unpacked"),
    ],
)
def test_odd_extended_headers(tmp_path: Path, records: bytes, said: str) -> None:
    extended = tarfile.TarInfo("pax")
    extended.type, extended.size = tarfile.XHDTYPE, len(records)
    blocks = extended.tobuf(tarfile.USTAR_FORMAT) + records.ljust(512, b"\0")
    blocks += tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT) + bytes(1024)
    (tmp_path / "a.tar").write_bytes(blocks)
    with pytest.raises(CorruptAdapter, match=said):
        unpacked(tmp_path / "a.tar")


def test_endless_headers_end(tmp_path: Path) -> None:
    folders = b"".join(_folder(f"d{number}") for number in range(300))
    extended = tarfile.TarInfo("x")
    extended.type = tarfile.XHDTYPE
    for blocks in (folders, extended.tobuf(tarfile.USTAR_FORMAT) * 300, _folder("d") * 300):
        (tmp_path / "a.tar").write_bytes(blocks)
        with pytest.raises(CorruptAdapter, match="256 entries|in one folder"):
            unpack(tmp_path / "a.tar", tmp_path)


def _folder(name: str) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE
    return entry.tobuf(tarfile.USTAR_FORMAT)


def test_the_suffix_says_what_it_is(tmp_path: Path) -> None:
    for name in ("a.rar", "a.tar.bz2", "a.safetensors", "a"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(CorruptAdapter, match="expected a folder or one of"):
            unpack(tmp_path / name, tmp_path)
    os.symlink("/nowhere", tmp_path / "a.zip")
    with pytest.raises(CorruptAdapter, match="cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path)


@settings(deadline=None)
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_damaged_archives_raise_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, kind: str
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    archive = pack(folder / f"a{kind}", {"top/x": b"12345", "top/y": bytes(range(50))})
    content = bytearray(archive.read_bytes())
    if kind.endswith("gz"):
        content = bytearray(gzip.decompress(content))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    archive.write_bytes(gzip.compress(content) if kind.endswith("gz") else content)
    try:
        unpacked(archive)
    except CorruptAdapter as exc:
        assert archive.name in str(exc)


@dataclass
class Workspace:
    """What the verb needs, in a temporary folder."""

    store_url: str
    versions: Artifacts
    packs: tuple[Path, ...] = ()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    artifacts = Artifacts(f"file://{tmp_path}/shared", tmp_path / "cache")
    return Workspace(f"sqlite:///{tmp_path}/turnout.db", artifacts)


def import_adapter(workspace: Workspace, source: Path, base: Path) -> Result:
    arguments = ["import", str(source), "--domain", "legal", "--base", str(base)]
    return CliRunner().invoke(adapters, arguments, obj=workspace)


@pytest.mark.parametrize("kind", ["", *KINDS])
def test_import_takes_folders_and_archives(tmp_path: Path, workspace: Workspace, kind: str) -> None:
    base = write_base(tmp_path / "tiny", {f"{MODULE}.weight": (16, 16)})
    source = write_adapter(tmp_path / "mine", target_modules=".*q_proj")
    if kind:
        members = {f"mine/{path.name}": path.read_bytes() for path in source.iterdir()}
        source = pack(tmp_path / f"mine{kind}", members)
    result = import_adapter(workspace, source, base)
    assert result.exit_code == 0, result.output
    store = Store(workspace.store_url)
    registry = Registry(store, workspace.versions)
    manifest = registry.verify(result.stdout.strip())
    store.close()
    assert (manifest.base_model, manifest.rank, manifest.verdict) == ("tiny", 8, "unjudged")
    assert manifest.target_modules == ("q_proj",)
    assert set(manifest.files) == set(NAMES)


@pytest.mark.parametrize("kind", ["", *KINDS])
def test_import_refuses_another_base(tmp_path: Path, workspace: Workspace, kind: str) -> None:
    base = write_base(tmp_path / "tiny", {f"{MODULE}.weight": (16, 32)})
    source = write_adapter(tmp_path / "mine")
    if kind:
        members = {path.name: path.read_bytes() for path in source.iterdir()}
        source = pack(tmp_path / f"mine{kind}", members)
    result = import_adapter(workspace, source, base)
    assert isinstance(result.exception, CorruptAdapter)
    assert str(result.exception).startswith(f"{source}: {MODULE} is [16, 16] for the adapter")
    assert not (tmp_path / "shared").exists()
    assert list((tmp_path / "cache").rglob("*.safetensors")) == []
