"""Leases: who works on what, until when. They expire by themselves when their owner is gone.

Expiry compares the clocks of the machines that share the database; keep them synchronised.
"""

from __future__ import annotations

from typing import Any

from wcp360.storage.store import SqlStore
from wcp360.storage.times import now_text
from wcp360.storage.unit import Unit

# The most that engine.lease can be set to. What seems to last longer was written by a clock that was wrong.
LONGEST_LEASE = 86_400.0


def is_held(table: Any) -> Any:
    """Return the condition that a lease has not expired."""
    return (table.expires > now_text()) & (table.expires <= now_text(LONGEST_LEASE))


class Leases:
    """The leases in a store."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def lease(self, name: str, owner: str, seconds: float) -> bool:
        """Take a lease that is free, expired or already the owner's; tell whether that succeeded."""
        with self._store.write() as unit:
            return take_lease(unit, name, owner, seconds)

    def renew(self, name: str, owner: str, seconds: float) -> bool:
        """Extend a lease; False when somebody else has taken it meanwhile, or it was released: stop the work then."""
        with self._store.write() as unit:
            table = unit.tables.lease
            mine = (table.name == name) & (table.owner == owner)
            return bool(table.update(expires=now_text(seconds)).where(mine).execute())

    def leased(self, name: str) -> bool:
        """Tell whether anybody has a lease now."""
        with self._store.read() as unit:
            table = unit.tables.lease
            return table.select().where((table.name == name) & is_held(table)).first() is not None

    def release(self, name: str, owner: str) -> None:
        """Give a lease back; one that is not the owner's stays."""
        with self._store.write() as unit:
            drop_lease(unit, name, owner)


def take_lease(unit: Unit, name: str, owner: str, seconds: float) -> bool:
    """Take a lease inside a transaction; tell whether that succeeded."""
    table = unit.tables.lease
    if table.select().where((table.name == name) & (table.owner != owner) & is_held(table)).first() is not None:
        return False
    values = {"owner": owner, "expires": now_text(seconds)}
    if not table.update(**values).where(table.name == name).execute():
        table.insert(name=name, **values).execute()
    return True


def drop_lease(unit: Unit, name: str, owner: str) -> None:
    """Give a lease back inside a transaction."""
    table = unit.tables.lease
    table.delete().where((table.name == name) & (table.owner == owner)).execute()
