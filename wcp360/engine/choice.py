"""What a node's next run converges: a fair share of what waits, or one preview that is to be applied exactly."""

from __future__ import annotations

from dataclasses import dataclass

from wcp360.core.kept import listed, moved_state
from wcp360.core.ports import Store, Target
from wcp360.core.views import PredictedItem
from wcp360.engine.batch import Batch, compile_node
from wcp360.engine.ports import Ledger


@dataclass(frozen=True, slots=True)
class Work:
    """A batch with its targets; ``preview`` and ``kept`` say what it has to come to exactly, where it has to."""

    batch: Batch
    targets: list[Target]
    preview: str = ""
    kept: tuple[PredictedItem, ...] = ()


def next_work(store: Store, ledger: Ledger, node: str, limit: int) -> Work | None:
    """Return what to do on a node now; None where nothing is due, or a preview had to be given up.

    What is to be applied exactly as a preview showed it is never mixed with anything else, and what needs that comes
    after it.
    """
    due = ledger.next_batch(node, limit)
    if not due:
        return None
    if due[0].preview:
        return _applied(store, ledger, node, due[0].preview)
    batch, targets = _compiled(store, node, [target for target in due if not target.preview])
    first = next((target.preview for target in targets if target.preview), "")
    return _applied(store, ledger, node, first) if first else Work(batch, targets)


def _applied(store: Store, ledger: Ledger, node: str, preview: str) -> Work | None:
    batch, targets = _compiled(store, node, ledger.applied_for(node, preview))
    kept = {name: batch for name, batch in ledger.batches_of(preview).items() if name == node}
    moved = moved_state(kept, {node: batch})
    if moved:
        ledger.give_up(node, preview, f"The preview {preview} is not what is wanted any more: {listed(moved)} moved.")
        return None
    return Work(batch, targets, preview, tuple(ledger.kept_prediction(node, preview)))


def _compiled(store: Store, node: str, chosen: list[Target]) -> tuple[Batch, list[Target]]:
    with store.read() as state:
        return compile_node(state, node, chosen)
