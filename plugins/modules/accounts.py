#!/usr/bin/python
# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Ansible module: the Unix accounts of tenants, many in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: accounts
short_description: Converge the Unix accounts of hosting tenants
description:
  - Makes, changes, suspends and removes users with their own groups, many in one call.
  - Marks its users by membership of one group. A user outside of it, or an id that somebody else holds, fails the
    item; nothing is changed then.
  - Suspending locks the password, expires the account (so that keys do not work either) and ends its processes.
  - Never fails because of an item. The outcome of each is in RV(items).
version_added: 0.1.0
author: WCP360 contributors (@wcp360)
options:
  group:
    description: The group whose members are ours. It has to exist.
    type: str
    default: wcp360-tenants
  sftp_group:
    description: The group of accounts whose shell lets nobody in. It has to exist.
    type: str
    default: wcp360-sftp
  home_base:
    description: The directory in which every home has to lie; anywhere by default.
    type: str
    default: ""
  items:
    description: The accounts.
    type: list
    elements: dict
    required: true
    suboptions:
      id:
        description: Name of the item in the result.
        type: str
        required: true
      name:
        description: Name of the user and of its group, 3 to 16 of a-z and 0-9.
        type: str
        required: true
      state:
        description: What the account has to be.
        type: str
        choices: [present, suspended, absent]
        default: present
      uid:
        description: Numeric id, never changed later; the next free one by default.
        type: int
      gid:
        description: Numeric id of the group; the same as the uid by default.
        type: int
      comment:
        description: The GECOS field.
        type: str
        default: ""
      home:
        description: Home directory as it is entered in passwd. The directory itself is not touched.
        type: str
        required: true
      shell:
        description: A shell that exists on the node. With nologin or false the account gets SFTP alone.
        type: str
        default: /usr/sbin/nologin
      authorized_keys:
        description: SSH public keys. They are checked here, a bad one fails the item, and written elsewhere.
        type: list
        elements: str
        default: []
      refuse:
        description: A sentence that says why the account cannot be converged. It fails with it and stays as it is.
        type: str
        default: ""
  lock_timeout:
    description: Seconds to wait for another run that works on this node.
    type: int
    default: 60
attributes:
  check_mode:
    description: Predicts every field, and the ids that will be chosen.
    support: full
  diff_mode:
    description: One line for each field of an account.
    support: full
"""

EXAMPLES = r"""
- name: An account for SFTP
  wcp360.hosting.accounts:
    items:
      - {id: "tenant:demo", name: demo, uid: 20000, gid: 20000, home: /home/demo}
"""

RETURN = r"""
items:
  description: One result for each item with C(id), C(changed), C(failed), C(msg), C(diff) and C(not_checked).
  type: list
  elements: dict
  returned: always
accounts:
  description: For each name the C(uid) and C(gid) that the account has, had or will have; null where nobody knows.
  type: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wcp360.hosting.plugins.module_utils.call_accounts import ARGUMENTS, run


def main() -> None:
    """Converge the accounts, or preview that, and end with one result for each item."""
    run(AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True))


if __name__ == "__main__":
    main()
