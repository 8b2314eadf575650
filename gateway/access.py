"""Who is calling: API keys, held in memory as digests and compared without touching the store."""

import hashlib
import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import insert, select, update

from adapters import tables
from adapters.store import Store, now
from gateway.configuration import nearest
from gateway.errors import BadRequest, Forbidden, Unauthorized

_MOST_CHECKED = 100_000


class Role(StrEnum):
    """What a key may do: `user` the inference listener, `admin` both."""

    USER = "user"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """A known key. The secret itself is nowhere kept. `targets` it may use; None for all."""

    key: str
    name: str
    role: Role
    targets: tuple[str, ...] | None = None

    def may_use(self, target: str) -> bool:
        return self.targets is None or target in self.targets

    def check(self, target: str) -> None:
        """Raises Forbidden where the key may not use this target."""
        if not self.may_use(target):
            raise Forbidden(
                f"key {self.key} may not use {target!r}; it may use {', '.join(self.targets or ())}"
            )


@dataclass(frozen=True, slots=True)
class Key:
    """A row of `turnout keys list`."""

    id: str
    name: str
    role: Role
    created: str
    revoked: str | None
    targets: tuple[str, ...] | None


class KeyRing:
    """The keys of the moment; replaced as a whole when the store's revision changes."""

    def __init__(self, callers: dict[str, Caller]) -> None:
        self._callers = callers
        # Headers that were checked before: a digest costs more than the rest of the check.
        self._checked: dict[bytes, Caller] = {}

    def caller(self, authorization: bytes) -> Caller:
        """The caller behind an `Authorization` header, as it came; raises Unauthorized."""
        return self._checked.get(authorization) or self._check(authorization)

    def _check(self, authorization: bytes) -> Caller:
        if not authorization:
            raise Unauthorized(
                "no API key: send `Authorization: Bearer KEY` (make one with `turnout keys create`)"
            )
        scheme, _, secret = authorization.decode("latin-1").partition(" ")
        caller = self._callers.get(digest(secret.strip())) if scheme.lower() == "bearer" else None
        if caller is None:
            raise Unauthorized("unknown API key")
        if len(self._checked) < _MOST_CHECKED:
            self._checked[authorization] = caller
        return caller

    def admin(self, authorization: bytes) -> Caller:
        """Like `caller`, and the key must be an admin's; raises Forbidden otherwise."""
        caller = self.caller(authorization)
        if caller.role is not Role.ADMIN:
            raise Forbidden(f"key {caller.key} has the role {caller.role}; this needs {Role.ADMIN}")
        return caller


class KeyStore:
    """Keys on record: created, listed, revoked."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(
        self,
        name: str,
        role: Role,
        secret: str | None = None,
        targets: Sequence[str] | None = None,
    ) -> tuple[Key, str]:
        """Make a key, for all targets unless some are given; its secret is returned once and never
        stored."""
        secret = secret or f"sk-turnout-{secrets.token_urlsafe(24)}"
        only = None if targets is None else tuple(dict.fromkeys(targets))
        key = Key(f"key_{secrets.token_hex(6)}", name, role, now(), None, only)
        row = {
            "id": key.id,
            "name": name,
            "role": role,
            "created": key.created,
            "digest": digest(secret),
            "targets": only,
        }
        with self._store.change() as connection:
            connection.execute(insert(tables.keys).values(row))
        return key, secret

    def ensure(self, name: str, role: Role, secret: str) -> None:
        """Make a key with a given secret unless it exists."""
        found = select(tables.keys.c.id).where(tables.keys.c.digest == digest(secret))
        with self._store.transaction() as connection:
            exists = connection.execute(found).first() is not None
        if not exists:
            self.create(name, role, secret)

    def revoke(self, key: str) -> None:
        """End a key; gateways refuse it within seconds."""
        with self._store.change() as connection:
            done = connection.execute(
                update(tables.keys)
                .where(tables.keys.c.id == key, tables.keys.c.revoked.is_(None))
                .values(revoked=now())
            )
        if done.rowcount == 0:
            raise BadRequest(f"no live key {key!r}; `turnout keys list` shows them", status=404)

    def keys(self) -> list[Key]:
        """Every key, oldest first, revoked ones too."""
        with self._store.transaction() as connection:
            rows = connection.execute(select(tables.keys).order_by(tables.keys.c.created)).all()
        return [
            Key(r.id, r.name, Role(r.role), r.created, r.revoked, _tuple(r.targets)) for r in rows
        ]

    def ring(self) -> KeyRing:
        """The live keys, for the request path."""
        live = select(tables.keys).where(tables.keys.c.revoked.is_(None))
        with self._store.transaction() as connection:
            rows = connection.execute(live).all()
        return KeyRing(
            {r.digest: Caller(r.id, r.name, Role(r.role), _tuple(r.targets)) for r in rows}
        )


def check_targets(asked: Iterable[str], known: Collection[str]) -> None:
    """Raises BadRequest for a target of a key-to-be that is not configured, or where none is
    asked for."""
    names = tuple(asked)
    if not names:
        raise BadRequest("name at least one target, or none at all for all", param="targets")
    for name in names:
        if name not in known:
            raise BadRequest(f"no target {name!r}; {nearest(name, known)}", param="targets")


def _tuple(names: list[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def digest(secret: str) -> str:
    """SHA-256 in hex. Keys carry 192 random bits, so a slow password hash would buy nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()
