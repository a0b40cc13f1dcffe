"""Leases: one owner at a time, kept alive by a thread for as long as the work takes."""

from __future__ import annotations

import logging
import threading
import time
from typing import Self

from wcp360.engine.ports import Ledger

log = logging.getLogger("wcp360.engine.lease")


class Lease:
    """A context manager; ``held`` tells whether the lease was got, ``lost`` whether it was lost meanwhile.

    ``seconds`` is how long the lease outlives the last renewal; it is renewed three times as often. ``taken`` says
    that the caller has it already and wants it kept and given back.
    """

    def __init__(self, ledger: Ledger, name: str, owner: str, seconds: float, *, taken: bool = False) -> None:
        self._ledger, self._name, self._owner, self._seconds = ledger, name, owner, seconds
        self._done = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease {name}", daemon=True)
        self.held = taken

    @property
    def lost(self) -> bool:
        """Whether somebody else may have the lease by now."""
        return self._lost.is_set()

    def confirm(self) -> bool:
        """Renew the lease now and tell whether it is still ours; it is lost from then on where that is not certain.

        For what must not be done without it: who was frozen for longer than the lease takes itself for its owner.
        """
        try:
            kept = self._ledger.renew(self._name, self._owner, self._seconds)
        except Exception as error:  # whatever keeps us from asking, somebody else may have it
            log.warning("It is not known whose the lease %s is: %s", self._name, error)
            kept = False
        if not kept:
            self._lost.set()
        return not self.lost

    def __enter__(self) -> Self:
        self.held = self.held or self._ledger.lease(self._name, self._owner, self._seconds)
        if self.held:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.held:
            self._done.set()
            self._thread.join()
            self._ledger.release(self._name, self._owner)

    def _keep(self) -> None:
        renewed = time.monotonic()
        while not self._done.wait(self._seconds / 3):
            try:
                kept = self._ledger.renew(self._name, self._owner, self._seconds)
            except Exception as error:  # the database may be away for a moment; the lease still has time left
                log.warning("The lease %s could not be renewed: %s", self._name, error)
                kept = time.monotonic() - renewed < self._seconds * 2 / 3
            else:
                renewed = time.monotonic()
            if not kept:
                self._lost.set()
                return
