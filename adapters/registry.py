"""Adapter versions and the aliases that point at them.

A version is a folder that is never written again; `champion` and `challenger` are what replaying
the moves gives.
"""

import hashlib
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Connection, func, insert, select, update

from adapters import tables
from adapters.artifacts import Artifacts
from adapters.errors import CorruptAdapter, RefusedMove, StoreUnavailable, UnknownVersion
from adapters.files import file_digest
from adapters.lora import WEIGHTS, check_adapter
from adapters.manifest import MANIFEST, Manifest, TrainingFacts
from adapters.store import Store, now

_TRIES = 5


class Move(StrEnum):
    """What can happen to a domain's aliases."""

    CHALLENGE = "challenge"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    RETIRE = "retire"
    WITHDRAW = "withdraw"  # it is no challenger any more
    DEMOTE = "demote"  # the base model serves


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
            case Move.WITHDRAW:
                challenger = None if self.challenger == version else self.challenger
                return Aliases(self.champion, challenger, self.earlier)
            case Move.DEMOTE:
                earlier = (*self.earlier, self.champion) if self.champion else self.earlier
                return Aliases(None, self.challenger, earlier)


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

    def __init__(self, store: Store, artifacts: Artifacts) -> None:
        self._store = store
        self._artifacts = artifacts

    def publish(self, domain: str, staged: Path, facts: TrainingFacts) -> Manifest:
        """Copy a trained adapter under the artifact root and register it; the version appears
        whole or not at all.

        Raises:
            CorruptAdapter: what `check_adapter` refuses.
            ArtifactsUnavailable: the artifact root cannot be written.
        """
        config = check_adapter(staged)
        if config["r"] != facts.rank:
            raise CorruptAdapter(f"{staged}: rank {config['r']}, training says {facts.rank}")
        # An upload may take minutes, so it is not done inside the transaction: a number that
        # somebody else took meanwhile means another try.
        for _ in range(_TRIES):
            if manifest := self._publish_as(self._next_number(domain), domain, staged, facts):
                return manifest
        raise StoreUnavailable(f"{domain}: {_TRIES} version numbers in a row were taken by others")

    def _publish_as(
        self, number: int, domain: str, staged: Path, facts: TrainingFacts
    ) -> Manifest | None:
        """Publish under this number; None when it was taken before the version was registered."""
        created = now()
        with self._artifacts.aside(domain) as aside:
            for path in staged.iterdir():
                if path.name != MANIFEST and not path.name.startswith("."):
                    shutil.copyfile(path, aside / path.name)
            files = {path.name: file_digest(path) for path in sorted(aside.iterdir())}
            sha8 = hashlib.sha256(f"{files[WEIGHTS]}{created}".encode()).hexdigest()[:8]
            manifest = Manifest.of(
                facts, version=f"{domain}--v{number}-{sha8}", created=created, files=files
            )
            (aside / MANIFEST).write_text(
                manifest.model_dump_json(indent=2) + "\n", encoding="utf-8"
            )
            self._artifacts.place(aside, manifest)
        return manifest if self._register(manifest) else None

    def _next_number(self, domain: str) -> int:
        newest = select(func.max(tables.versions.c.number)).where(
            tables.versions.c.domain == domain
        )
        with self._store.transaction() as connection:
            return (connection.execute(newest).scalar() or 0) + 1

    def _register(self, manifest: Manifest) -> bool:
        """Write the row, unless the number is taken: `change` lets one writer in at a time."""
        same = select(tables.versions.c.version).where(
            tables.versions.c.domain == manifest.domain,
            tables.versions.c.number == manifest.number,
        )
        with self._store.change() as connection:
            if connection.execute(same).first() is not None:
                return False
            connection.execute(
                insert(tables.versions).values(
                    version=manifest.version,
                    domain=manifest.domain,
                    number=manifest.number,
                    created=manifest.created,
                    verdict=manifest.verdict,
                    retired=False,
                    manifest=manifest.model_dump(mode="json"),
                )
            )
        return True

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
        return self.obtain(self.version(name))

    def obtain(self, version: Version) -> Manifest:
        """Have a version's files in its folder on this host, whole and checked; blocks.

        Raises:
            CorruptAdapter: they are not what was registered, or must not be served.
            ArtifactsUnavailable: the artifact root did not answer; try again later.
        """
        return self._artifacts.obtain(version.manifest)

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
            if aliases.champion is None and not aliases.earlier:
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

    def withdraw(self, name: str, *, actor: str, reason: str = "") -> None:
        """Take a version out of the race: if it is the challenger, there is none afterwards."""
        version = self.version(name)
        if self.aliases().get(version.manifest.domain, Aliases()).challenger == name:
            self._move(Move.WITHDRAW, version, actor, reason)

    def demote(self, domain: str, *, actor: str, reason: str = "") -> None:
        """Have the base model serve a domain; a rollback returns to the champion before.

        Raises RefusedMove when it serves already.
        """
        with self._store.change() as connection:
            if _replay(connection).get(domain, Aliases()).champion is None:
                raise RefusedMove(f"{domain} has no champion: the base model serves already")
            _record(connection, domain, Move.DEMOTE, None, actor, reason)

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
        return Version(parsed, self._artifacts.folder(parsed), retired)


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
