"""Answers to requests that carried an Idempotency-Key, kept so that the same request can be answered again."""

from typing import Any

from peewee import CompositeKey, Model, TextField


class Answer(Model):
    actor = TextField()
    key = TextField()
    request = TextField()
    body = TextField()
    created = TextField(index=True)

    class Meta:
        table_name = "answer"
        primary_key = CompositeKey("actor", "key")


# Lists sort by these; the key breaks ties.
INDEXES = (
    "CREATE INDEX resource_created ON resource (kind, created, name)",
    "CREATE INDEX resource_updated ON resource (kind, updated, name)",
    "CREATE INDEX change_tenant_id ON change (tenant, id)",
    "CREATE INDEX preview_tenant_id ON preview (tenant, id)",
    "CREATE INDEX change_target_node ON change_target (node, change)",
)


def up(migrator: Any, db: Any) -> None:
    with db.bind_ctx([Answer], bind_refs=False, bind_backrefs=False):
        db.create_tables([Answer], safe=False)
    for statement in INDEXES:
        db.execute_sql(statement)
