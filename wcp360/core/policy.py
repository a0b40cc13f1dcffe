"""Deny unless allowed: the one place where an actor's right to an operation is decided."""

from __future__ import annotations

from wcp360.core.actor import Actor
from wcp360.core.errors import Forbidden, NotFound
from wcp360.core.operation import Operation, of_server


def check_permission(actor: Actor, operation: Operation) -> None:
    """Raise Forbidden unless ``actor`` holds the permission that ``operation`` declares."""
    if not actor.has(operation.permission):
        raise Forbidden(
            f"{operation.name} needs the permission {operation.permission!r}, which {actor.name} does not have. "
            "Ask an administrator for it."
        )


def check_before_io(actor: Actor, operation: Operation) -> None:
    """Raise unless the actor may start the operation's own I/O, which happens before any state is read.

    Where that depends on the owner (``tenant_of`` other than the server) it is judged in the transaction.
    """
    check_permission(actor, operation)
    if operation.tenant_of is of_server:
        check_scope(actor, operation, None)


def check_scope(actor: Actor, operation: Operation, tenant: str | None) -> None:
    """Raise unless the object's owner is in the actor's scope.

    A tenant's object outside the scope is answered as if it did not exist, so that names cannot be found by trying.
    """
    if actor.sees(tenant):
        return
    if tenant is None:
        raise Forbidden(f"{operation.name} concerns the server itself, and {actor.name} is limited to its tenants.")
    raise NotFound(f"There is no such object for {operation.name}. Check the name.")
