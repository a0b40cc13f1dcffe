"""Storage: desired state, records, audit log, tokens and leases in a database; the only importer of peewee."""

from wcp360.storage.ledger import Ledger
from wcp360.storage.migrate import migrate, pending_migrations
from wcp360.storage.store import SqlStore
from wcp360.storage.tokens import NewToken, Tokens, TokenView

__all__ = [
    "Ledger",
    "NewToken",
    "SqlStore",
    "TokenView",
    "Tokens",
    "migrate",
    "pending_migrations",
]
