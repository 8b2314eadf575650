"""Versions under a folder or a URL: published whole, fetched once, checked, and healed."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from adapters.artifacts import Artifacts
from adapters.errors import ArtifactsUnavailable, CorruptAdapter
from adapters.manifest import Manifest
from adapters.registry import Registry, Version
from adapters.store import Store
from tests.adapters.folders import facts, write_adapter
from tests.serving import wait_for

WEIGHTS = "adapter_model.safetensors"
FILES = {"adapter_config.json", WEIGHTS, "manifest.json"}


@pytest.fixture(params=["folder", "file", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    match request.param:
        case "folder":
            yield str(tmp_path / "root")
        case "file":
            yield f"file://{tmp_path}/root"
        case "memory":
            yield f"memory://{tmp_path.name}"
            _clear_memory()


def _clear_memory() -> None:
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The folder behind the URL of `remote`."""
    return tmp_path / "shared"


@pytest.fixture
def remote(shared: Path, tmp_path: Path) -> Artifacts:
    return Artifacts(f"file://{shared}", tmp_path / "cache")


def publish(store: Store, artifacts: Artifacts, tmp_path: Path) -> Version:
    registry = Registry(store, artifacts)
    name = registry.publish("legal", write_adapter(tmp_path / "staged"), facts()).version
    return registry.version(name)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_is_published_is_what_is_obtained(root: str, store: Store, tmp_path: Path) -> None:
    artifacts = Artifacts(root, tmp_path / "cache")
    version = publish(store, artifacts, tmp_path)
    assert artifacts.obtain(version.manifest) == version.manifest
    home = tmp_path / ("cache" if "://" in root else "root")
    assert version.folder == home / "adapters" / "legal" / version.name
    assert names(version.folder) == FILES
    assert names(version.folder.parent) == {version.name}
    staged = (tmp_path / "staged" / WEIGHTS).read_bytes()
    assert (version.folder / WEIGHTS).read_bytes() == staged


def test_another_host_has_its_own_copy(root: str, store: Store, tmp_path: Path) -> None:
    manifest = publish(store, Artifacts(root, tmp_path / "cache"), tmp_path).manifest
    other = Artifacts(root, tmp_path / "elsewhere")
    assert other.obtain(manifest) == manifest
    assert other.folder(manifest).is_relative_to(tmp_path / "elsewhere") == ("://" in root)


def test_a_version_is_never_written_again(root: str, store: Store, tmp_path: Path) -> None:
    artifacts = Artifacts(root, tmp_path / "cache")
    manifest = publish(store, artifacts, tmp_path).manifest
    with artifacts.aside("legal") as aside:
        shutil.copytree(tmp_path / "staged", aside, dirs_exist_ok=True)
        (aside / "manifest.json").write_text(manifest.model_dump_json())
        with pytest.raises(CorruptAdapter, match="exists already"):
            artifacts.place(aside, manifest)


def test_two_trainings_at_once_get_two_numbers(root: str, store: Store, tmp_path: Path) -> None:
    registry = Registry(store, Artifacts(root, tmp_path / "cache"))
    staged = [write_adapter(tmp_path / f"staged-{seed}", seed=seed) for seed in range(4)]
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda folder: registry.publish("legal", folder, facts()), staged))
    assert sorted(manifest.number for manifest in made) == [1, 2, 3, 4]
    assert [registry.verify(manifest.version) for manifest in made] == made


def test_relative_roots_give_absolute_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    monkeypatch.chdir(tmp_path)
    for root in ("root", "memory://relative"):
        version = publish(store, Artifacts(root, Path("cache")), tmp_path)
        assert version.folder.is_absolute()


def test_a_domain_leads_nowhere_else(remote: Artifacts, store: Store, tmp_path: Path) -> None:
    with pytest.raises(CorruptAdapter, match="cannot name a domain"):
        Registry(store, remote).publish("../up", write_adapter(tmp_path / "a"), facts())


def test_threads_at_once_fetch_once(remote: Artifacts, store: Store, tmp_path: Path) -> None:
    manifest = publish(store, remote, tmp_path).manifest
    start = threading.Barrier(8)

    def obtain(_: int) -> int:
        start.wait()
        remote.obtain(manifest)
        return remote.folder(manifest).stat().st_ino

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(obtain, range(8)))) == 1
    assert names(remote.folder(manifest).parent) == {manifest.version}


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def _link(path: Path) -> None:
    target = path.with_suffix(".real")
    path.rename(target)
    path.symlink_to(target)


HARMS: list[Callable[[Path], None]] = [_truncate, _flip, Path.unlink]


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", sorted(FILES))
def test_a_damaged_root_never_gets_into_the_cache(
    remote: Artifacts, shared: Path, store: Store, tmp_path: Path, name: str, harm: object
) -> None:
    manifest = publish(store, remote, tmp_path).manifest
    assert callable(harm)
    harm(shared / "adapters" / "legal" / manifest.version / name)
    with pytest.raises(CorruptAdapter):
        remote.obtain(manifest)
    assert names(remote.folder(manifest).parent) == set()


def test_another_manifest_than_the_registered_one_is_refused(
    remote: Artifacts, shared: Path, store: Store, tmp_path: Path
) -> None:
    manifest = publish(store, remote, tmp_path).manifest
    path = shared / "adapters" / "legal" / manifest.version / "manifest.json"
    path.write_text(manifest.model_copy(update={"verdict": "fail"}).model_dump_json())
    with pytest.raises(CorruptAdapter, match="differs from what was registered"):
        remote.obtain(manifest)


def test_only_registered_names_are_fetched(
    remote: Artifacts, shared: Path, store: Store, tmp_path: Path
) -> None:
    manifest = publish(store, remote, tmp_path).manifest
    (shared / "adapters" / "legal" / manifest.version / "adapter_model.bin").write_bytes(b"\x80")
    remote.obtain(manifest)
    assert names(remote.folder(manifest)) == FILES


@pytest.mark.parametrize("harm", [*HARMS, _link])
@pytest.mark.parametrize("name", sorted(FILES))
def test_a_damaged_cache_is_healed(
    remote: Artifacts, store: Store, tmp_path: Path, name: str, harm: object
) -> None:
    manifest = publish(store, remote, tmp_path).manifest
    remote.obtain(manifest)
    assert callable(harm)
    harm(remote.folder(manifest) / name)
    assert remote.obtain(manifest) == manifest
    assert names(remote.folder(manifest).parent) == {manifest.version}
    assert names(remote.folder(manifest)) == FILES


def test_a_whole_cache_needs_no_root(
    remote: Artifacts, shared: Path, store: Store, tmp_path: Path
) -> None:
    manifest = publish(store, remote, tmp_path).manifest
    remote.obtain(manifest)
    shutil.rmtree(shared)
    assert remote.obtain(manifest) == manifest


def test_a_root_that_disappears_is_said_so(root: str, store: Store, tmp_path: Path) -> None:
    artifacts = Artifacts(root, tmp_path / "cache")
    manifest = publish(store, artifacts, tmp_path).manifest
    shutil.rmtree(tmp_path / "root", ignore_errors=True)
    _clear_memory()
    with pytest.raises(ArtifactsUnavailable, match="nothing is there"):
        artifacts.obtain(manifest)


def test_a_root_that_does_not_answer_is_named_without_its_password(
    store: Store, tmp_path: Path, remote: Artifacts
) -> None:
    manifest = publish(store, remote, tmp_path).manifest
    gone = Artifacts("ftp://me:secret@127.0.0.1:1/x", tmp_path / "elsewhere")
    with pytest.raises(ArtifactsUnavailable, match="ftp://me:…@127.0.0.1:1/x") as raised:
        gone.obtain(manifest)
    assert "secret" not in str(raised.value)


def test_an_unknown_scheme_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ArtifactsUnavailable, match="no filesystem 's4'"):
        publish(store, Artifacts("s4://bucket", tmp_path / "cache"), tmp_path)


def test_a_missing_package_is_named(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ArtifactsUnavailable, match="needs the package s3fs"):
        publish(store, Artifacts("s3://bucket/turnout", tmp_path / "cache"), tmp_path)


def test_a_root_that_cannot_be_written_is_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file")
    with pytest.raises(ArtifactsUnavailable, match="root"):
        publish(store, Artifacts(tmp_path / "root", tmp_path / "cache"), tmp_path)


_OBTAIN = """
import sys
from pathlib import Path
from adapters.artifacts import Artifacts
from adapters.manifest import Manifest
manifest = Manifest.model_validate_json(Path(sys.argv[3]).read_bytes())
Artifacts(sys.argv[1], Path(sys.argv[2])).obtain(manifest)
"""


class _Stalling(BaseHTTPRequestHandler):
    """Sends half of what it promises, and then nothing."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(b"{" * 500_000)
        time.sleep(60)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_fetch_that_was_killed_leaves_nothing_in_the_way(
    remote: Artifacts, shared: Path, store: Store, tmp_path: Path
) -> None:
    manifest = publish(store, remote, tmp_path).manifest
    (tmp_path / "registered.json").write_text(manifest.model_dump_json())
    home = remote.folder(manifest).parent
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Stalling)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/root"
    child = subprocess.Popen(
        [sys.executable, "-c", _OBTAIN, url, tmp_path / "cache", tmp_path / "registered.json"]
    )
    try:
        wait_for(lambda: any(home.glob(".fetching-*/*/*")), "the download to begin")
    finally:
        child.kill()
        child.wait()
        server.shutdown()
        server.server_close()
    (left,) = home.glob(".fetching-*")
    assert remote.obtain(manifest) == manifest  # the lock died with the process
    assert left.exists()  # it might belong to somebody who still writes
    for path in (left, *left.rglob("*")):
        os.utime(path, (0, 0))
    (remote.folder(manifest) / WEIGHTS).unlink()
    assert remote.obtain(manifest) == manifest
    assert names(home) == {manifest.version}


def test_processes_at_once_both_end_well(
    remote: Artifacts, shared: Path, store: Store, tmp_path: Path
) -> None:
    manifest = publish(store, remote, tmp_path).manifest
    (tmp_path / "registered.json").write_text(manifest.model_dump_json())
    command = [sys.executable, "-c", _OBTAIN, f"file://{shared}"]
    command += [str(tmp_path / "cache"), str(tmp_path / "registered.json")]
    children = [subprocess.Popen(command) for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    assert names(remote.folder(manifest)) == FILES


def test_a_manifest_from_the_store_leads_nowhere_else(store: Store, tmp_path: Path) -> None:
    version = publish(store, Artifacts(tmp_path / "root", tmp_path / "cache"), tmp_path)
    values = version.manifest.model_dump(mode="json")
    for harm in ({"domain": "../.."}, {"files": {**values["files"], "../x": "0" * 64}}):
        with pytest.raises(ValueError, match="domain|plain"):
            Manifest.model_validate({**values, **harm})
