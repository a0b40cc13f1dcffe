"""Who acts: the answer of authentication, and all that policy knows of a caller."""

from __future__ import annotations

from dataclasses import dataclass

ALL = "*"


@dataclass(frozen=True, slots=True)
class Actor:
    """A caller with its rights.

    ``permissions`` holds permission names or ``*``; ``tenants`` the tenants that the caller may see, None for all.
    """

    name: str
    permissions: frozenset[str]
    tenants: frozenset[str] | None = frozenset()

    def has(self, permission: str) -> bool:
        """Tell whether the actor holds ``permission``."""
        return ALL in self.permissions or permission in self.permissions

    def sees(self, tenant: str | None) -> bool:
        """Tell whether the actor may see ``tenant``; None stands for what belongs to the server itself."""
        return self.tenants is None or (tenant is not None and tenant in self.tenants)


SYSTEM = Actor("system", frozenset({ALL}), None)
