"""Adapter versions and the aliases that point at them.

A version is a folder that is never written again; `champion` and `challenger` are what replaying
the moves gives.
"""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Connection, func, insert, select, update

from adapters import tables
from adapters.errors import CorruptAdapter, RefusedMove, UnknownVersion
from adapters.manifest import (
    MANIFEST,
    WEIGHTS,
    Manifest,
    TrainingFacts,
    check_adapter,
    file_digest,
    verify,
)
from adapters.store import Store, now


class Move(StrEnum):
    """What can happen to a domain's aliases."""

    CHALLENGE = "challenge"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class Aliases:
    """Where a domain's aliases point. `previous` is what a rollback returns to; None means the base
    model."""

    champion: str | None = None
    challenger: str | None = None
    earlier: tuple[str, ...] = ()

    @property
    def previous(self) -> str | None:
        return self.earlier[-1] if self.earlier else None

    def after(self, kind: Move, version: str | None) -> "Aliases":
        """The aliases after one more move."""
        match kind:
            case Move.CHALLENGE:
                return Aliases(self.champion, version, self.earlier)
            case Move.PROMOTE:
                earlier = (*self.earlier, self.champion) if self.champion else self.earlier
                challenger = None if self.challenger == version else self.challenger
                return Aliases(version, challenger, earlier)
            case Move.ROLLBACK:
                return Aliases(version, self.challenger, self.earlier[:-1])
            case Move.RETIRE:
                challenger = None if self.challenger == version else self.challenger
                earlier = tuple(name for name in self.earlier if name != version)
                return Aliases(self.champion, challenger, earlier)


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version: its manifest and where its files lie."""

    manifest: Manifest
    folder: Path
    retired: bool

    @property
    def name(self) -> str:
        return self.manifest.version


class Registry:
    """Publishes versions into the artifact root and moves aliases. Every change is one
    transaction."""

    def __init__(self, store: Store, artifacts: Path) -> None:
        self._store = store
        self._root = artifacts.resolve() / "adapters"

    def publish(self, domain: str, staged: Path, facts: TrainingFacts) -> Manifest:
        """Copy a trained adapter into its own folder and register it; the folder appears whole or
        not at all.

        Raises:
            CorruptAdapter: what `check_adapter` refuses.
        """
        check_adapter(staged)
        home = self._root / domain
        home.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".publishing-", dir=home))
        try:
            for path in staged.iterdir():
                if path.is_file() and not path.is_symlink() and path.name != MANIFEST:
                    shutil.copyfile(path, aside / path.name)
            files = {path.name: file_digest(path) for path in sorted(aside.iterdir())}
            return self._register(domain, aside, files, facts)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _register(
        self, domain: str, aside: Path, files: dict[str, str], facts: TrainingFacts
    ) -> Manifest:
        created = now()
        sha8 = hashlib.sha256(f"{files[WEIGHTS]}{created}".encode()).hexdigest()[:8]
        with self._store.change() as connection:
            newest = select(func.max(tables.versions.c.number)).where(
                tables.versions.c.domain == domain
            )
            number = (connection.execute(newest).scalar() or 0) + 1
            manifest = Manifest(
                **facts.model_dump(),
                version=f"{domain}--v{number}-{sha8}",
                domain=domain,
                number=number,
                created=created,
                files=files,
            )
            (aside / MANIFEST).write_text(
                manifest.model_dump_json(indent=2) + "\n", encoding="utf-8"
            )
            os.chmod(aside, 0o755)
            aside.rename(self._root / domain / manifest.version)
            connection.execute(
                insert(tables.versions).values(
                    version=manifest.version,
                    domain=domain,
                    number=number,
                    created=created,
                    verdict=manifest.verdict,
                    retired=False,
                    manifest=manifest.model_dump(mode="json"),
                )
            )
        return manifest

    def versions(self, domain: str | None = None) -> list[Version]:
        """Registered versions by domain and number."""
        query = select(tables.versions).order_by(tables.versions.c.domain, tables.versions.c.number)
        if domain is not None:
            query = query.where(tables.versions.c.domain == domain)
        with self._store.transaction() as connection:
            return [self._version(row.manifest, row.retired) for row in connection.execute(query)]

    def version(self, name: str) -> Version:
        """One version by name; raises UnknownVersion."""
        query = select(tables.versions).where(tables.versions.c.version == name)
        with self._store.transaction() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise UnknownVersion(f"no adapter version {name!r}; `turnout adapters list` shows them")
        return self._version(row.manifest, row.retired)

    def verify(self, name: str) -> Manifest:
        """Check a version's files against its manifest, and its manifest against the store."""
        version = self.version(name)
        manifest = verify(version.folder)
        if manifest != version.manifest:
            raise CorruptAdapter(f"{name}: {MANIFEST} differs from what was registered")
        return manifest

    def aliases(self) -> dict[str, Aliases]:
        """Where every domain's aliases point now."""
        with self._store.transaction() as connection:
            return _replay(connection)

    def challenge(self, name: str, *, actor: str, reason: str = "") -> None:
        """Make a version its domain's challenger."""
        self._move(Move.CHALLENGE, self._usable(name), actor, reason)

    def promote(self, name: str, *, actor: str, reason: str = "", force: bool = False) -> None:
        """Make a version its domain's champion. Only verdict `pass` may serve, unless forced by a
        person.

        Raises:
            RefusedMove: the verdict is another one, the version is retired or is champion already.
        """
        version = self._usable(name)
        if version.manifest.verdict != "pass" and not force:
            raise RefusedMove(
                f"{name} has the verdict {version.manifest.verdict!r}; only 'pass' may be served "
                "(--force overrides, and is recorded)"
            )
        if self.aliases().get(version.manifest.domain, Aliases()).champion == name:
            raise RefusedMove(f"{name} is the champion already")
        self._move(Move.PROMOTE, version, actor, f"forced: {reason}" if force else reason)

    def rollback(self, domain: str, *, actor: str, reason: str = "") -> str | None:
        """Return to the champion before this one; with none before it, to the base model (None)."""
        with self._store.change() as connection:
            aliases = _replay(connection).get(domain, Aliases())
            if aliases.champion is None:
                raise RefusedMove(f"{domain} has no champion to roll back from")
            _record(connection, domain, Move.ROLLBACK, aliases.previous, actor, reason)
        return aliases.previous

    def retire(self, name: str, *, actor: str, reason: str = "") -> None:
        """Take a version out of service for good; its files stay."""
        version = self._usable(name)
        domain = version.manifest.domain
        with self._store.change() as connection:
            if _replay(connection).get(domain, Aliases()).champion == name:
                raise RefusedMove(
                    f"{name} is the champion of {domain}; promote another or roll back first"
                )
            _record(connection, domain, Move.RETIRE, name, actor, reason)
            connection.execute(
                update(tables.versions)
                .where(tables.versions.c.version == name)
                .values(retired=True)
            )

    def history(self, domain: str) -> list[dict[str, str | None]]:
        """The domain's moves, oldest first."""
        query = (
            select(tables.moves).where(tables.moves.c.domain == domain).order_by(tables.moves.c.id)
        )
        with self._store.transaction() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def _usable(self, name: str) -> Version:
        version = self.version(name)
        if version.retired:
            raise RefusedMove(f"{name} is retired")
        return version

    def _move(self, kind: Move, version: Version, actor: str, reason: str) -> None:
        with self._store.change() as connection:
            _record(connection, version.manifest.domain, kind, version.name, actor, reason)

    def _version(self, manifest: dict[str, object], retired: bool) -> Version:
        parsed = Manifest.model_validate(manifest)
        return Version(parsed, self._root / parsed.domain / parsed.version, retired)


def _record(
    connection: Connection, domain: str, kind: Move, version: str | None, actor: str, reason: str
) -> None:
    connection.execute(
        insert(tables.moves).values(
            at=now(), domain=domain, kind=kind, version=version, actor=actor, reason=reason
        )
    )


def _replay(connection: Connection) -> dict[str, Aliases]:
    query = select(tables.moves).order_by(tables.moves.c.id)
    aliases: dict[str, Aliases] = {}
    for row in connection.execute(query):
        before = aliases.get(row.domain, Aliases())
        aliases[row.domain] = before.after(Move(row.kind), row.version)
    return aliases
