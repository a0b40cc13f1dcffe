"""Find what failed on a node, which is little, without looking at all that is applied there."""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql("CREATE INDEX target_failed ON target (node) WHERE applied < wanted AND failed >= wanted")
