#!/usr/bin/python
# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Ansible module: several of this collection's Ansible modules one after the other, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: steps
short_description: Run several of this collection's Ansible modules one after the other in one call
description:
  - Saves the time that each call to a node costs, and holds the node's lock from the first step to the last.
  - A step can leave out what failed before it, and take over what an earlier step found out.
  - Templates of M(wcp360.hosting.config_tree) are rendered on the controller before the call.
  - Never fails because of an item. RV(failures) has the message of each item that failed.
version_added: 0.2.0
author: WCP360 contributors (@wcp360)
options:
  steps:
    description: What is done, in order.
    type: list
    elements: dict
    required: true
    suboptions:
      key: {description: Name by which later steps refer to this one; each has its own., type: str, required: true}
      name: {description: What it does; for people., type: str, required: true}
      role: {description: Role of this collection that the step belongs to., type: str, default: ""}
      use:
        description: The Ansible module.
        type: str
        required: true
        choices: [accounts, config_tree, http_probe, instances, owned_tree]
      args: {description: Arguments of that module., type: dict, required: true}
      after:
        description: Keys of earlier steps. Items that failed there are left out here.
        type: list
        elements: str
        default: []
      needs:
        description: Keys of earlier steps that have to have gone well, or this one is skipped.
        type: list
        elements: str
        default: []
      generations:
        description:
          - Key of a C(config_tree) step. C(instances) wait for its digests; in C(http_probe) they stand in for
            C({generation}). The step is skipped where that tree was refused as a whole.
        type: str
        default: ""
      owners:
        description:
          - Key of an C(accounts) step. An item with C(account) gets the ids of that account; C({uid}) in its
            C(trash_name) is replaced.
        type: str
        default: ""
  predicted:
    description:
      - Do what the last call in check mode has predicted, with all that it was given and its RV(verdicts), instead of
        O(steps), for a program that reads E(WCP360_OUTCOMES_FILE).
    type: bool
    default: false
  facts:
    description:
      - Facts of M(wcp360.hosting.node_facts) that the steps were made from. Where the node has others now, nothing is
        done, and the task has to be run again with the new ones.
    type: dict
    default: {}
  verdicts:
    description: RV(verdicts) of the same steps in check mode, an O(wcp360.hosting.config_tree#module:verdict) for each.
    type: dict
    default: {}
  fault: {description: For crash tests of this collection., type: str, default: ""}
  lock_timeout: {description: Seconds to wait for another run on the same node., type: int, default: 60}
attributes:
  check_mode: {description: Predicts exactly what a run then does., support: full}
  diff_mode: {description: One diff per file., support: full}
"""

EXAMPLES = r"""
- name: Make an account and its home
  wcp360.hosting.steps:
    steps:
      - key: users
        name: Converge the users
        use: accounts
        args:
          items: [{id: acme, name: acme, home: /home/acme}]
      - key: homes
        name: Converge the homes
        use: owned_tree
        owners: users
        after: [users]
        args:
          items:
            - {id: acme, account: acme, base: /home, directories: [{path: acme, mode: "0711"}]}
"""

RETURN = r"""
steps:
  description:
    - For each step its C(name), C(role), C(use), C(skipped), C(changed), C(items) and what else its module returns.
    - Not returned to a program that reads E(WCP360_OUTCOMES_FILE), where the same stands.
  returned: when nobody reads the outcomes file
  type: list
  elements: dict
failures:
  description: The message of each item that failed, by id.
  returned: always
  type: dict
verdicts:
  description: For each C(config_tree) step whose checker was asked and took everything, its C(verdict).
  returned: when steps were done
  type: dict
moved:
  description: Names of the facts that are not as given; then nothing was done, and the task failed.
  returned: when facts have moved
  type: list
  elements: str
trashed:
  description: Ids of the items of which something went, or will go, into the trash.
  returned: when steps were done
  type: list
  elements: str
facts:
  description: The node's facts.
  returned: when facts have moved
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wcp360.hosting.plugins.module_utils.steps import ARGUMENTS, run


def main() -> None:
    """Run the module."""
    run(AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True))


if __name__ == "__main__":
    main()
