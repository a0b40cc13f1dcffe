"""The first schema. It stays as it is; what changes later is another migration.

Names and identifiers are short by the rules of ``wcp360.core.fields``; free text and JSON are TEXT. Times are text
(RFC 3339, UTC), flags are 0 and 1. The composite keys make every reference readable without a join.
"""

from typing import Any

from peewee import SQL, BigIntegerField, CompositeKey, IntegerField, Model, TextField

from wcp360.storage.dialect import append_only

RESOURCE_KEY = SQL("FOREIGN KEY (kind, name) REFERENCES resource (kind, name) ON DELETE CASCADE")


class Resource(Model):
    kind = TextField()
    name = TextField()
    tenant = TextField(null=True, index=True)
    life = TextField()
    spec = TextField()
    purge = IntegerField(default=0)
    created = TextField()
    updated = TextField()

    class Meta:
        table_name = "resource"
        primary_key = CompositeKey("kind", "name")


class Target(Model):
    kind = TextField()
    name = TextField()
    node = TextField()
    tenant = TextField(null=True, index=True)
    life = TextField()
    purge = IntegerField()
    wanted = IntegerField()
    applied = IntegerField(default=0)
    failed = IntegerField(default=0)
    items = TextField()
    applied_items = TextField(default="[]")
    applied_life = TextField(default="absent")
    depends = TextField()
    reason = TextField(default="")
    attempts = IntegerField(default=0)
    retry_at = TextField(null=True)
    facts = TextField(default="{}")
    asked = BigIntegerField()

    class Meta:
        table_name = "target"
        primary_key = CompositeKey("kind", "name", "node")
        constraints = (RESOURCE_KEY,)


class Claim(Model):
    hostname = TextField(primary_key=True)
    reversed = TextField(unique=True)
    kind = TextField()
    name = TextField()
    tenant = TextField()

    class Meta:
        table_name = "claim"
        indexes = ((("kind", "name"), False),)
        constraints = (RESOURCE_KEY,)


class Counter(Model):
    name = TextField(primary_key=True)
    value = BigIntegerField()

    class Meta:
        table_name = "counter"


class Change(Model):
    id = TextField(primary_key=True)
    operation = TextField()
    input = TextField()
    actor = TextField()
    tenant = TextField(null=True, index=True)
    status = TextField()
    reason = TextField(default="")
    correlation = TextField()
    created = TextField()
    finished = TextField(null=True)

    class Meta:
        table_name = "change"


class ChangeTarget(Model):
    change = TextField()
    kind = TextField()
    name = TextField()
    node = TextField()
    revision = IntegerField()
    status = TextField()
    reason = TextField(default="")

    class Meta:
        table_name = "change_target"
        primary_key = CompositeKey("change", "kind", "name", "node")
        constraints = (SQL("FOREIGN KEY (change) REFERENCES change (id) ON DELETE CASCADE"),)


class Preview(Model):
    id = TextField(primary_key=True)
    operation = TextField()
    input = TextField()
    actor = TextField()
    tenant = TextField(null=True, index=True)
    status = TextField(index=True)
    reason = TextField(default="")
    base = TextField()
    batches = TextField()
    changed = IntegerField(null=True)
    items = TextField(default="[]")
    correlation = TextField()
    created = TextField()
    finished = TextField(null=True)

    class Meta:
        table_name = "preview"


class Run(Model):
    id = TextField(primary_key=True)
    node = TextField()
    is_check = IntegerField()
    preview = TextField(default="")
    status = TextField()
    reason = TextField(default="")
    resources = TextField()
    items = TextField(default="[]")
    correlation = TextField()
    created = TextField()
    finished = TextField(null=True)

    class Meta:
        table_name = "run"
        indexes = ((("node", "status"), False),)


class RunTarget(Model):
    run = TextField()
    kind = TextField()
    name = TextField()
    revision = IntegerField()
    life = TextField()
    items = TextField()
    recorded = IntegerField(default=0)

    class Meta:
        table_name = "run_target"
        primary_key = CompositeKey("run", "kind", "name")
        constraints = (SQL("FOREIGN KEY (run) REFERENCES run (id) ON DELETE CASCADE"),)


class RunChange(Model):
    run = TextField()
    change = TextField(index=True)

    class Meta:
        table_name = "run_change"
        primary_key = CompositeKey("run", "change")
        constraints = (
            SQL("FOREIGN KEY (run) REFERENCES run (id) ON DELETE CASCADE"),
            SQL("FOREIGN KEY (change) REFERENCES change (id) ON DELETE CASCADE"),
        )


class Event(Model):
    id = BigIntegerField(primary_key=True)
    time = TextField()
    type = TextField()
    tenant = TextField(null=True)
    data = TextField()
    correlation = TextField()

    class Meta:
        table_name = "event"
        indexes = ((("tenant", "id"), False),)


class Audit(Model):
    id = BigIntegerField(primary_key=True)
    time = TextField()
    actor = TextField()
    operation = TextField()
    tenant = TextField(null=True)
    outcome = TextField()
    input = TextField()
    correlation = TextField()
    previous = TextField()
    hash = TextField()

    class Meta:
        table_name = "audit"


class Token(Model):
    id = TextField(primary_key=True)
    name = TextField(index=True)
    hash = TextField(unique=True)
    permissions = TextField()
    tenants = TextField(null=True)
    created = TextField()
    revoked = TextField(null=True)

    class Meta:
        table_name = "token"


class Lease(Model):
    name = TextField(primary_key=True)
    owner = TextField()
    expires = TextField()

    class Meta:
        table_name = "lease"


TABLES = [
    *(Resource, Target, Claim, Counter, Change, ChangeTarget, Preview),
    *(Run, RunTarget, RunChange, Event, Audit, Token, Lease),
]
# Partial indexes hold only what waits, so that looking for work stays cheap however much is applied.
INDEXES = (
    "CREATE INDEX target_pending ON target (node, asked) WHERE applied < wanted AND failed < wanted",
    "CREATE INDEX change_target_pending ON change_target (kind, name, node) WHERE status = 'pending'",
)


def up(migrator: Any, db: Any) -> None:
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        for table in TABLES:
            table.create_table(safe=False)
    for statement in (*INDEXES, *append_only("audit", db)):
        db.execute_sql(statement)
