#!/usr/bin/python
# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Ansible module: what a node is and which services it has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_facts
short_description: Tell what the roles of this collection need to know of a node
description:
  - Reads a handful of files and starts no program, which makes it much cheaper than gathering all facts.
  - Never changes anything.
version_added: 0.1.0
author: WCP360 contributors (@wcp360)
options:
  id:
    description: Name of the only item in the result.
    type: str
    default: node
attributes:
  check_mode:
    description: Does the same in check mode.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Look at the node
  wcp360.hosting.node_facts:

- name: Say whether it runs systemd
  ansible.builtin.debug:
    msg: "{{ ansible_facts['wcp360_node'].service_manager }}"
"""

RETURN = r"""
facts:
  description:
    - C(service_manager) (C(systemd) or C(none)), C(distribution), C(distribution_version), C(distribution_name),
      C(supported), C(tested), C(python), C(hostname), C(kernel), C(machine), C(cpus), C(memory_mb), C(ipv6),
      C(cgroup2), C(nginx) and C(sshd) (path or empty), C(sshd_running), C(php_fpm) (versions).
    - The same is in C(ansible_facts['wcp360_node']) and in the item.
  type: dict
  returned: always
items:
  description: One result with C(facts) besides what the items of the other modules have.
  type: list
  elements: dict
  returned: always
"""

from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wcp360.hosting.plugins.module_utils.items import ItemResult
from ansible_collections.wcp360.hosting.plugins.module_utils.node_facts import collect


def main() -> None:
    """Return the facts."""
    module = AnsibleModule(argument_spec={"id": {"type": "str", "default": "node"}}, supports_check_mode=True)
    facts = collect()
    item = {**asdict(ItemResult(id=module.params["id"])), "facts": facts}
    module.exit_json(changed=False, items=[item], facts=facts, ansible_facts={"wcp360_node": facts})


if __name__ == "__main__":
    main()
