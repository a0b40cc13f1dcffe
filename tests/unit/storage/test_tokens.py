"""Tokens: shown once, kept as a hash, ended at once."""

from __future__ import annotations

import re

import pytest

from wcp360.core.actor import Actor
from wcp360.core.errors import Conflict, NotFound
from wcp360.storage import SqlStore, Tokens
from wcp360.storage.dialect import SqliteDialect
from wcp360.storage.tables import COLUMNS

from .helpers import rows


def test_a_token_is_its_actor_until_it_is_revoked(store: SqlStore) -> None:
    tokens = Tokens(store)
    new = tokens.create("ci", ["domain.read", "domain.write"], ["acme"])
    assert re.fullmatch(r"wcp_[A-Za-z0-9_-]{43}", new.text)
    assert tokens.verify(new.text) == Actor("ci", frozenset({"domain.read", "domain.write"}), frozenset({"acme"}))
    tokens.revoke(new.id)
    assert tokens.verify(new.text) is None
    with pytest.raises(NotFound):
        tokens.revoke(new.id)
    assert [(view.name, view.revoked is not None) for view in tokens.list()] == [("ci", True)]


def test_no_tenants_is_not_all_tenants(store: SqlStore) -> None:
    tokens = Tokens(store)
    scopes = {name: tokens.verify(tokens.create(name, ["*"], scope).text) for name, scope in (("n", []), ("a", None))}
    assert scopes["n"] is not None and scopes["n"].tenants == frozenset()
    assert scopes["a"] is not None and scopes["a"].tenants is None


@pytest.mark.parametrize("text", ["", "wcp_", "wcp_" + "a" * 43, "\ud800", "x" * 100_000, "' OR 1=1 --", "wcp_\x00"])
def test_anything_else_is_nobody(store: SqlStore, text: str) -> None:
    tokens = Tokens(store)
    tokens.create("ci", ["*"], None)
    assert tokens.verify(text) is None


def test_a_live_name_is_unique(store: SqlStore) -> None:
    tokens = Tokens(store)
    first = tokens.create("ci", [], None)
    with pytest.raises(Conflict) as caught:
        tokens.create("ci", [], None)
    assert caught.value.code == "token_exists"
    tokens.revoke(first.id)
    tokens.create("ci", [], None)


def test_the_text_is_kept_nowhere(store: SqlStore) -> None:
    tokens = Tokens(store)
    new = tokens.create("ci", ["*"], None)
    secret = new.text.removeprefix("wcp_")
    tables = [str(rows(store, f"SELECT * FROM {table}")) for table in COLUMNS]
    assert new.id in str(tables) and secret not in str(tables)
    if isinstance(store.dialect, SqliteDialect):
        store.close()
        files = [path.read_bytes() for path in store.dialect.path.parent.iterdir()]
        assert files and not any(secret.encode() in content for content in files)
    assert secret not in repr(new)


def test_making_and_revoking_is_audited(store: SqlStore) -> None:
    tokens = Tokens(store)
    new = tokens.create("ci", ["domain.read"], None, actor="root", correlation="c")
    tokens.revoke(new.id, actor="root")
    with store.read() as state:
        entries = state.audit(limit=9, after=0)
    assert [(entry.operation, entry.actor) for entry in entries] == [("token.create", "root"), ("token.revoke", "root")]
    assert entries[0].input == {"id": new.id, "name": "ci", "permissions": ["domain.read"], "tenants": None}
