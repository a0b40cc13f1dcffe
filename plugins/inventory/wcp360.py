# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Inventory plugin: the nodes of a WCP360 panel, with what each of them shall have."""

from __future__ import annotations

DOCUMENTATION = r"""
name: wcp360
short_description: Nodes of a WCP360 panel, with the variables of the roles
description:
  - Reads the REST API of a panel. Each of its servers becomes a host with its connection variables and with
    C(tenant_accounts), C(php_fpm_pools), C(nginx_sites) and the C(*_server_state) variables of the roles, so that
    C(wcp360.hosting.site) brings it to what the panel wants. On a server that the panel has converged it changes
    nothing.
  - Host names are the panel's names of its nodes. All are in the group C(wcp360), and in C(wcp360_nginx),
    C(wcp360_php_fpm) and C(wcp360_tenant) where the panel manages that role's server level.
  - What people typed into the panel stays data. It is not trusted as a template, and Jinja in it is never evaluated.
  - Host keys are pinned to those that the panel knows.
  - Ansible only warns when an inventory cannot be read. Set E(ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED=true) where that
    has to end the run.
version_added: 0.2.0
author: WCP360 contributors (@wcp360)
options:
  plugin:
    description: Has to be V(wcp360.hosting.wcp360).
    type: str
    required: true
    choices: [wcp360.hosting.wcp360]
  url:
    description:
      - Where the panel is, C(https://HOST:PORT) or C(unix:///PATH/OF/SOCKET).
      - Plain C(http) is for the machine itself or a tunnel; to another machine it is refused, as others could
        read the token.
    type: str
    default: http://127.0.0.1:8360
    env:
      - name: WCP360_URL
  token:
    description:
      - A token for all tenants with the permissions C(node.read) and C(node.variables).
      - Goes before O(token_file).
    type: str
    env:
      - name: WCP360_TOKEN
  token_file:
    description: A file that holds the token.
    type: path
    env:
      - name: WCP360_TOKEN_FILE
  ca_file:
    description: Certificate authorities to trust instead of the system's own. Certificates are always checked.
    type: path
    env:
      - name: WCP360_CA_FILE
  timeout:
    description: Seconds to wait for each answer.
    type: int
    default: 30
  private_key_file:
    description:
      - The SSH key that opens the nodes.
      - By default the file that the panel has for a node, where it names one, else what SSH itself finds.
    type: path
  local_nodes:
    description:
      - Whether to take the node that is the panel's own machine, by a local connection. Only right where this runs on
        that machine; elsewhere it would set up the wrong one.
    type: bool
    default: false
"""

EXAMPLES = r"""
# wcp360.yml, used as: ansible-playbook -i wcp360.yml wcp360.hosting.site --check --diff
plugin: wcp360.hosting.wcp360
url: https://panel.example.org:8360
token_file: ~/.config/wcp360/token
private_key_file: ~/.ssh/id_ed25519
---
# On the panel's own machine, as root
plugin: wcp360.hosting.wcp360
token_file: /var/lib/wcp360-panel/root.token
private_key_file: /var/lib/wcp360-panel/ssh/id_ed25519
local_nodes: true
"""

from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible_collections.wcp360.hosting.plugins.module_utils.panel_api import PanelApi, PanelError, place_of
from ansible_collections.wcp360.hosting.plugins.module_utils.panel_nodes import (
    LISTS,
    connection,
    server_states,
    unmanaged,
)


class InventoryModule(BaseInventoryPlugin):
    """What Ansible loads."""

    NAME = "wcp360.hosting.wcp360"
    # Never: tenants' values are among the variables, and a trusted string is a template.
    trusted_by_default = False

    def verify_file(self, path: str) -> bool:
        """Tell whether this is a configuration of ours, by its name."""
        return super().verify_file(path) and path.endswith(("wcp360.yml", "wcp360.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Read the panel; an answer that is not as it should be adds nothing at all."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            api = PanelApi(
                place_of(self.get_option("url")), self._token(), self.get_option("ca_file"), self.get_option("timeout")
            )
            hosts = {node["name"]: self._variables(api, node) for node in self._nodes(api)}
        except PanelError as error:
            raise AnsibleParserError(str(error)) from None
        self._add(hosts)

    def _nodes(self, api: PanelApi) -> list[dict[str, Any]]:
        """Return the nodes to take; one that is being taken out of management is none of them."""
        staying = [node for node in api.pages("/api/v1/nodes") if node.get("status") != "removing"]
        left_out = [node for node in staying if node["connection"] == "local" and not self.get_option("local_nodes")]
        for node in left_out:
            self.display.vv(f"The node {node['name']} is the panel's own machine and was left out; see local_nodes.")
        return [node for node in staying if node not in left_out]

    def _variables(self, api: PanelApi, node: dict[str, Any]) -> dict[str, Any]:
        variables: dict[str, Any] = {name: [] for name in LISTS}
        states = unmanaged()
        found = connection(node, self.get_option("private_key_file") or "")
        for entry in api.pages(f"/api/v1/nodes/{node['name']}/variables"):
            if entry["variable"] in LISTS:
                variables[entry["variable"]].append(entry["value"])
            elif entry["variable"] == "server":
                states |= server_states(entry["value"])
            else:
                # A key that the panel names never becomes one of Ansible's.
                raise PanelError(
                    f"The panel has a variable {entry['variable']!r} for {node['name']}, which this collection does "
                    "not know. Install the version of the collection that belongs to the panel."
                )
        return found | variables | states

    def _add(self, hosts: dict[str, dict[str, Any]]) -> None:
        self.inventory.add_group("wcp360")
        for name, variables in hosts.items():
            self.inventory.add_host(name, group="wcp360")
            for key, value in variables.items():
                self.inventory.set_variable(name, key, value)
            for role in ("tenant", "php_fpm", "nginx"):
                if variables[f"{role}_server_state"] == "present":
                    self.inventory.add_host(name, group=self.inventory.add_group(f"wcp360_{role}"))

    def _token(self) -> str:
        given = self.get_option("token")
        if given:
            return str(given).strip()
        path = self.get_option("token_file")
        if not path:
            raise PanelError(
                "There is no token for the panel: set token_file in the inventory's file, or WCP360_TOKEN_FILE."
            )
        try:
            with open(path, encoding="utf-8") as file:
                return file.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise PanelError(f"The token file cannot be read: {error}. Set token_file to one that can.") from error
