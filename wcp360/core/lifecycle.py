"""Where service modules are installed: one resource of kind ``module`` for each module and node."""

from __future__ import annotations

from wcp360.core.actor import Actor
from wcp360.core.errors import Conflict
from wcp360.core.ports import State
from wcp360.core.resources import Life, Ref, Spec

MODULE = "module"
INSTALL_PERMISSION = "module.install"


class ModuleSpec(Spec):
    """A service module on a node; a disabled one takes no new objects while the existing ones keep serving."""

    module: str
    node: str
    enabled: bool = True


def module_ref(module: str, node: str) -> Ref:
    """Return the address of a module on a node, as in ``module:webserver@local``."""
    return Ref(MODULE, f"{module}@{node}")


def require_module(state: State, actor: Actor, module: str, node: str) -> None:
    """Make sure that new objects may use ``module`` on ``node``; it is installed along if the actor may do that.

    Raises Conflict ``module_disabled``, ``module_not_installed`` or ``being_removed``.
    """
    ref = module_ref(module, node)
    found = state.find(ref)
    if found is None:
        if not actor.has(INSTALL_PERMISSION):
            raise Conflict(
                f"The node {node} has no module {module}. Ask an administrator to install it.",
                code="module_not_installed",
            )
        state.put(ref, ModuleSpec(module=module, node=node))
    elif found.life is Life.ABSENT:
        raise Conflict(f"The module {module} is being removed from {node}; try again later.", code="being_removed")
    elif not found.spec["enabled"]:
        raise Conflict(
            f"The module {module} is disabled on {node} and takes no new objects. "
            f"`wcp360 module enable {module} --node {node}` changes that.",
            code="module_disabled",
        )
