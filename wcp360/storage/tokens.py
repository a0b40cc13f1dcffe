"""API tokens: made, checked and revoked here; only their hashes are kept.

A token holds 256 random bits, so there is nothing to guess and no word list to try: one SHA-256 is as strong against
somebody who has the database as a slow password hash would be, and it costs a request microseconds, not a tenth of a
second that anybody could make the API spend.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from wcp360.core.actor import Actor
from wcp360.core.errors import Conflict, NotFound
from wcp360.core.ids import new_id
from wcp360.storage.encode import from_text, to_text
from wcp360.storage.store import SqlStore
from wcp360.storage.tables import Row
from wcp360.storage.times import now_text
from wcp360.storage.unit import Unit

PREFIX = "wcp_"
RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made; ``text`` is shown this once and kept nowhere."""

    id: str
    name: str
    text: str

    def __repr__(self) -> str:
        return f"NewToken(id={self.id!r}, name={self.name!r})"


@dataclass(frozen=True, slots=True)
class TokenView:
    """What is kept of a token. ``tenants`` None stands for all and the server itself."""

    id: str
    name: str
    permissions: frozenset[str]
    tenants: frozenset[str] | None
    created: str
    revoked: str | None


class Tokens:
    """The tokens in a store."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def create(
        self,
        name: str,
        permissions: Iterable[str],
        tenants: Iterable[str] | None,
        *,
        actor: str = "local",
        correlation: str = "",
    ) -> NewToken:
        """Make a token and write that to the audit log. Raises Conflict ``token_exists`` for a live one's name."""
        new = NewToken(new_id(), name, PREFIX + secrets.token_urlsafe(RANDOM_BYTES))
        scope = None if tenants is None else sorted(set(tenants))
        rights = sorted(set(permissions))
        with self._store.write() as unit:
            table = unit.tables.token
            if table.select().where((table.name == name) & table.revoked.is_null()).first() is not None:
                raise Conflict(
                    f"There is a token {name!r} already; revoke it or take another name.", code="token_exists"
                )
            table.insert(
                id=new.id,
                name=name,
                hash=_hash(new.text),
                permissions=to_text(rights),
                tenants=None if scope is None else to_text(scope),
                created=now_text(),
                revoked=None,
            ).execute()
            given: dict[str, Any] = {"id": new.id, "name": name, "permissions": rights, "tenants": scope}
            _audit(unit, "token.create", given, actor, correlation)
        return new

    def verify(self, text: str) -> Actor | None:
        """Return the actor whose token ``text`` is, or None for one that is unknown, revoked or malformed.

        The look-up is by hash, of which a caller cannot steer a prefix; so its time tells nothing about a token.
        """
        wanted = _hash(text)
        with self._store.read() as unit:
            table = unit.tables.token
            row: Row | None = table.select().where((table.hash == wanted) & table.revoked.is_null()).first()
        if row is None or not hmac.compare_digest(row["hash"], wanted):
            return None
        view = _view(row)
        return Actor(view.name, view.permissions, view.tenants)

    def revoke(self, token_id: str, *, actor: str = "local", correlation: str = "") -> None:
        """End a token at once and write that to the audit log. Raises NotFound for one that is not live."""
        with self._store.write() as unit:
            table = unit.tables.token
            live = (table.id == token_id) & table.revoked.is_null()
            if not table.update(revoked=now_text()).where(live).execute():
                raise NotFound(f"There is no live token {token_id!r}. Check the identifier.")
            _audit(unit, "token.revoke", {"id": token_id}, actor, correlation)

    def list(self) -> list[TokenView]:
        """Return all tokens, revoked ones included, oldest first."""
        with self._store.read() as unit:
            return [_view(row) for row in unit.tables.token.select().order_by(unit.tables.token.id)]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _view(row: Row) -> TokenView:
    return TokenView(
        id=row["id"],
        name=row["name"],
        permissions=frozenset(from_text(row["permissions"])),
        tenants=None if row["tenants"] is None else frozenset(from_text(row["tenants"])),
        created=row["created"],
        revoked=row["revoked"],
    )


def _audit(unit: Unit, operation: str, given: dict[str, Any], actor: str, correlation: str) -> None:
    unit.add_audit(
        actor=actor, operation=operation, tenant=None, outcome="accepted", given=given, correlation=correlation
    )
