"""Revisions of a name go on after it was removed and made anew; a name that was given up is held until it is let go.

``former`` has the last revision of what was removed, for each node.
"""

from typing import Any

from peewee import CompositeKey, IntegerField, Model, TextField


class Former(Model):
    kind = TextField()
    name = TextField()
    node = TextField()
    revision = IntegerField()

    class Meta:
        table_name = "former"
        primary_key = CompositeKey("kind", "name", "node")


def up(migrator: Any, db: Any) -> None:
    with db.bind_ctx([Former], bind_refs=False, bind_backrefs=False):
        Former.create_table(safe=False)
    db.execute_sql("ALTER TABLE claim ADD COLUMN leaving INTEGER NOT NULL DEFAULT 0")
