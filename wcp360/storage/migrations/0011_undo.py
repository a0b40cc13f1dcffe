"""What a preview's change replaced, so that it is put back where a node refuses the preview."""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql("ALTER TABLE preview ADD COLUMN undo TEXT NOT NULL DEFAULT ''")
