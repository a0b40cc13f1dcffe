"""The declaration of the module ``lifecycle`` and the functions behind ``module.*``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from wcp360.core.actor import Actor
from wcp360.core.declare import change, query
from wcp360.core.errors import Conflict, NotFound
from wcp360.core.fields import NodeName
from wcp360.core.lifecycle import MODULE, ModuleSpec, module_ref
from wcp360.core.listing import By, ListInput, StatusWord, all_of, page_of, query_of, sorted_by
from wcp360.core.operation import Input, View, of_server
from wcp360.core.ports import State
from wcp360.core.registry import Module
from wcp360.core.resources import Life, Ref, Renderer, Resource, ResourceType
from wcp360.core.status import status_of, statuses_of
from wcp360.core.views import Page

Word = Literal["not installed", "being removed", "enabled", "disabled"]


class ModuleList(ListInput):
    """Which service modules to list."""

    node: Annotated[NodeName | None, By("node")] = Field(default=None, description="Only those on this node.")
    name: Annotated[str | None, By("name")] = Field(default=None, max_length=32, description="Only this module.")
    state: Annotated[Word | None, By("state")] = Field(default=None, description="Only those in this state.")
    status: Annotated[StatusWord | None, By("status")] = Field(default=None, description="Only those that stand so.")
    sort: Literal["node", "-node", "name", "-name"] = sorted_by("node")


class ModuleStatus(View):
    """A service module on one node."""

    name: str
    title: str
    node: str
    state: str = Field(description="not installed, enabled, disabled or being removed.")
    status: str = Field(description="applied, pending, removing or failed; empty where it is not installed.")
    reason: str = Field(description="Why it failed or still waits; empty otherwise.")
    objects: int = Field(description="How many tenants and domains use it there.")


def _module_name(value: str) -> str:
    if not (value.isascii() and value.isalnum() and value.islower() and len(value) <= 32):
        raise ValueError("Use lower-case letters and digits.")
    return value


class ModuleKey(Input):
    """A service module on a node."""

    name: Annotated[str, AfterValidator(_module_name)] = Field(description="The module's name, as in webserver.")
    node: NodeName = Field(default="local", description="The node.")


class Functions:
    """The functions behind ``module.*``; ``services`` are the modules that can be installed, by name."""

    def __init__(self, services: Mapping[str, Module]) -> None:
        self.services = services

    def list_modules(self, state: State, given: ModuleList, actor: Actor) -> Page[ModuleStatus]:
        """Answer each service module on each node."""
        found = {module.ref: module for module in all_of(state, MODULE)}
        nodes = [node.ref.name for node in all_of(state, "node")]
        standing = statuses_of(state, found.values())
        views = [
            self._view(name, node, found.get(ref), standing.get(ref, ("", "")))
            for node in nodes
            for name in self.services
            for ref in [module_ref(name, node)]
        ]
        page = page_of(query_of(given), views, lambda view: (view.name, view.node))
        users = state.dependents([module_ref(view.name, view.node) for view in page.items])
        items = [view.model_copy(update={"objects": users[module_ref(view.name, view.node)]}) for view in page.items]
        return Page[ModuleStatus](items=items, next=page.next)

    def status(self, state: State, given: ModuleKey, actor: Actor) -> ModuleStatus:
        """Answer one service module on one node."""
        self._check(state, given)
        ref = module_ref(given.name, given.node)
        found = state.find(ref)
        standing = ("", "") if found is None else status_of(state, found)
        return self._view(given.name, given.node, found, standing, state.dependents([ref])[ref])

    def install(self, state: State, given: ModuleKey, actor: Actor) -> None:
        """Want the module on the node."""
        self._check(state, given)
        ref = module_ref(given.name, given.node)
        found = state.find(ref)
        if found is not None and found.life is Life.ABSENT:
            raise Conflict(f"{given.name} is still being removed from {given.node}; wait.", code="being_removed")
        if found is None:
            state.put(ref, ModuleSpec(module=given.name, node=given.node))
        else:
            state.retry(ref)

    def switch(self, state: State, given: ModuleKey, enabled: bool) -> None:
        """Enable or disable an installed module."""
        self._check(state, given)
        ref = state.get(module_ref(given.name, given.node)).ref
        state.put(ref, ModuleSpec(module=given.name, node=given.node, enabled=enabled))

    def enable(self, state: State, given: ModuleKey, actor: Actor) -> None:
        """Let new objects use the module again."""
        self.switch(state, given, True)

    def disable(self, state: State, given: ModuleKey, actor: Actor) -> None:
        """Take no new objects; existing ones keep serving."""
        self.switch(state, given, False)

    def remove(self, state: State, given: ModuleKey, actor: Actor) -> None:
        """Leave a tombstone, unless something still uses the module."""
        self._check(state, given)
        found = state.known(module_ref(given.name, given.node))
        users = _users(state, found.ref, given.node)
        if users:
            raise Conflict(
                f"{given.name} on {given.node} still serves {', '.join(users[:5])}"
                f"{' and more' if len(users) > 5 else ''}. Delete them first.",
                code="in_use",
            )
        state.bury(found.ref, purge=False)

    def _check(self, state: State, given: ModuleKey) -> None:
        if given.name not in self.services:
            raise NotFound(f"There is no module {given.name!r}; there are {', '.join(sorted(self.services))}.")
        state.get(Ref("node", given.node))

    def _view(
        self, name: str, node: str, found: Resource | None, standing: tuple[str, str], objects: int = 0
    ) -> ModuleStatus:
        status, reason = standing
        return ModuleStatus(
            name=name,
            title=self.services[name].title,
            node=node,
            state=_word(found),
            status=status,
            reason=reason,
            objects=objects,
        )


def _word(found: Resource | None) -> str:
    if found is None:
        return "not installed"
    if found.life is Life.ABSENT:
        return "being removed"
    return "enabled" if found.spec["enabled"] else "disabled"


def _users(state: State, ref: Ref, node: str) -> list[str]:
    return sorted(str(target.ref) for target in state.targets([node]) if ref in target.depends)


def build(services: Mapping[str, Module]) -> Module:
    """Declare the module for the given service modules."""
    functions = Functions(services)

    def act(verb: str, summary: str, function: Callable[..., None], **more: Any) -> Any:
        more = {"permission": "module.install", "conflicts": (), **more}
        example = {"name": "webserver", "node": "local"}
        return change(
            f"module.{verb}", summary, input=ModuleKey, function=function, tenant_of=of_server, example=example,
            key="name", **more,
        )  # fmt: skip

    return Module(
        name="lifecycle",
        title="Module lifecycle",
        operations=(
            query(
                "module.list",
                "List the service modules on every node.",
                input=ModuleList,
                result=Page[ModuleStatus],
                function=functions.list_modules,
                tenant_of=of_server,
                example={},
            ),
            query(
                "module.status",
                "Show how a service module stands on a node.",
                input=ModuleKey,
                result=ModuleStatus,
                function=functions.status,
                tenant_of=of_server,
                example={"name": "webserver"},
                key="name",
            ),
            act("install", "Install a service module on a node.", functions.install, conflicts=("being_removed",)),
            act("enable", "Let new objects use a module again.", functions.enable),
            act("disable", "Take no new objects; existing ones keep serving.", functions.disable),
            act(
                "remove",
                "Remove a module with the packages that WCP360 installed for it.",
                functions.remove,
                conflicts=("in_use",),
                confirm=True,
            ),
        ),
        types=(ResourceType(MODULE, ModuleSpec, lambda resource, state: (resource.spec["node"],)),),
        renderers=(Renderer(MODULE, lambda resource, state: (), _depends),),
    )


def _depends(resource: Resource, state: State, node: str) -> tuple[Ref, ...]:
    return () if resource.life is Life.ABSENT else (Ref("node", node),)
