"""In which order waiting targets are taken up, and which of them belong to a preview that is being applied.

``bulk`` and ``turn`` order them, ``asked_by`` is the actor whose change asked last, ``preview`` names the preview that
a target is applied for; empty otherwise. A change keeps the preview that it applies as well.
"""

from typing import Any

COLUMNS = (
    "ALTER TABLE target ADD COLUMN bulk INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE target ADD COLUMN turn BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE target ADD COLUMN asked_by TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE target ADD COLUMN preview TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE change ADD COLUMN preview TEXT NOT NULL DEFAULT ''",
)
# Partial, so that the next batch is read off the index however much is applied or waits behind it.
INDEXES = (
    "CREATE INDEX target_turn ON target (node, bulk, turn, asked) WHERE applied < wanted AND failed < wanted",
    "CREATE INDEX target_tenant_turn ON target (node, bulk, tenant, turn) WHERE applied < wanted AND failed < wanted",
    "CREATE INDEX target_asked_by ON target (asked_by, bulk) WHERE applied < wanted AND failed < wanted",
    "CREATE INDEX target_preview ON target (preview) WHERE preview <> ''",
    "CREATE INDEX change_preview ON change (preview) WHERE preview <> ''",
)


def up(migrator: Any, db: Any) -> None:
    for statement in (*COLUMNS, *INDEXES):
        db.execute_sql(statement)
