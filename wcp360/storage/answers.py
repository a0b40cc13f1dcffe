"""Answers to requests that carried an Idempotency-Key, for as long as their callers may repeat them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from wcp360.core.ports import Answer
from wcp360.storage.part import Part
from wcp360.storage.times import now_text, text_of

KEPT = timedelta(hours=24)


class AnswersPart(Part):
    """The part of a transaction that keeps answers."""

    def answer(self, actor: str, key: str) -> Answer | None:
        """Return what was answered to this actor's request under this key, in the last 24 hours."""
        table = self.tables.answer
        here = (table.actor == actor) & (table.key == key) & (table.created >= _oldest())
        row = table.select(table.request, table.body).where(here).first()
        return None if row is None else Answer(**row)

    def keep_answer(self, actor: str, key: str, answer: Answer) -> None:
        """Keep an answer, and let go of those that are too old."""
        self._writing()
        table = self.tables.answer
        table.delete().where(table.created < _oldest()).execute()
        table.insert(actor=actor, key=key, request=answer.request, body=answer.body, created=now_text()).execute()


def _oldest() -> str:
    return text_of(datetime.now(UTC) - KEPT)
