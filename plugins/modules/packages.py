#!/usr/bin/python
# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Ansible module: Debian packages with a true preview and a record of what they added."""

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Install Debian packages, and take away exactly what was added
description:
  - Installs packages without recommended ones and without starting their services.
  - In check mode it lists every package that would be installed, dependencies included, also where the package
    lists of the node are empty or older than a day; they are then fetched into a temporary directory.
  - Keeps a record of the packages that were not there before. O(state=absent) purges those, except what
    something else on the node depends on by now, and never a package that was there before.
version_added: 0.1.0
author: WCP360 contributors (@wcp360)
options:
  names:
    description: Names of the packages. With O(state=absent) the record decides what goes.
    type: list
    elements: str
    required: true
  state:
    description: Whether the packages have to be there.
    type: str
    choices: [present, absent]
    default: present
  record:
    description: Path of the JSON file on the node that holds what was installed.
    type: path
    required: true
  id:
    description: Name of the only item in the result; C(server:) and the record's file name by default.
    type: str
  lock_timeout:
    description: Seconds to wait for another run that works on this node.
    type: int
    default: 60
  dpkg_lock_timeout:
    description: Seconds to wait for another apt or dpkg.
    type: int
    default: 300
attributes:
  check_mode:
    description: Predicts every package, without writing to the node.
    support: full
  diff_mode:
    description: One entry for each package, with its versions.
    support: full
"""

EXAMPLES = r"""
- name: Install a web server
  wcp360.hosting.packages:
    names: [nginx-light]
    record: /var/lib/wcp360/packages/nginx.json

- name: Take away what the web server brought along
  wcp360.hosting.packages:
    names: [nginx-light]
    record: /var/lib/wcp360/packages/nginx.json
    state: absent
"""

RETURN = r"""
items:
  description: One result with C(id), C(changed), C(failed), C(msg), C(diff) and C(not_checked).
  type: list
  elements: dict
  returned: always
packages:
  description: Names of the packages, dependencies included, that were or would be installed, upgraded or removed.
  type: list
  elements: str
  returned: success
"""

from pathlib import PurePath

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wcp360.hosting.plugins.module_utils.items import ItemResult, finish, lock_or_fail
from ansible_collections.wcp360.hosting.plugins.module_utils.package_runs import (
    Request,
    make_absent,
    make_present,
    preview_absent,
    preview_present,
)
from ansible_collections.wcp360.hosting.plugins.module_utils.packages import PackageError

ARGUMENTS = {
    "names": {"type": "list", "elements": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "record": {"type": "path", "required": True},
    "id": {"type": "str"},
    "lock_timeout": {"type": "int", "default": 60},
    "dpkg_lock_timeout": {"type": "int", "default": 300},
}


def main() -> None:
    """Converge the packages, or preview that, and end with one item."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    request = Request(module.params["names"], module.params["record"], module.params["dpkg_lock_timeout"])
    present = module.params["state"] == "present"
    result = ItemResult(id=module.params["id"] or f"server:{PurePath(request.record).stem}")
    changes = []
    try:
        if module.check_mode:
            changes = preview_present(request) if present else preview_absent(request)
        else:
            with lock_or_fail(module):
                changes = make_present(request) if present else make_absent(request)
    except PackageError as error:
        if not module.check_mode:
            module.fail_json(msg=str(error))
        result.changed, result.not_checked = True, str(error)
    result.diff = [change.diff() for change in changes]
    result.changed = result.changed or bool(changes)
    finish(module, [result], packages=[change.name for change in changes])


if __name__ == "__main__":
    main()
