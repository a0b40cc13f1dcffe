#!/usr/bin/python
# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Ansible module: directories, files and links of root, all of a role in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: system_files
short_description: Have directories, files and links of root, all in one call
description:
  - Converges what a role has in directories such as C(/etc) and C(/usr/local/lib), in the order of the list.
  - What tasks of M(ansible.builtin.file), M(ansible.builtin.copy) and M(ansible.builtin.template) do in two or three
    calls to the node for each file. Directories that earlier entries make are there for later ones, and what earlier
    ones take away is gone, in check mode too.
  - Everything belongs to root. Where something of another kind is in the way, or a directory is somebody else's,
    nothing is changed and the task fails.
  - A file is replaced by one rename, after it was written to the disk. What a killed run left beside it, with C(~)
    behind its name, goes with the next run.
version_added: 0.1.0
author: WCP360 contributors (@wcp360)
options:
  id:
    description: Name of the only item in the result.
    type: str
    required: true
  entries:
    description: What has to be there or gone.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path.
        type: str
        required: true
      state:
        description: What it has to be. V(absent) takes directories away with all that is in them.
        type: str
        choices: [file, directory, link, absent]
        default: file
      content:
        description: Content of a file, such as C(lookup('ansible.builtin.template', 'my.conf.j2')).
        type: str
      target:
        description: Where a link points to.
        type: str
      mode:
        description: Octal mode, in quotes; C(0755) for a directory and C(0644) for a file by default.
        type: str
      gid:
        description: Group.
        type: int
        default: 0
      follow:
        description: Take a link to a directory for the directory, as where an admin has moved it to another disk.
        type: bool
        default: false
      validate:
        description:
          - A program with arguments that has to end well before new content is written, in check mode too.
          - The argument C(%s) stands for a file with the new content.
        type: list
        elements: str
        default: []
      unless_used:
        description: With O(entries[].state=absent), leave a directory alone that other things are in.
        type: bool
        default: false
      besides:
        description: Names in the directory that O(entries[].unless_used) does not count, as another task takes them.
        type: list
        elements: str
        default: []
  lock_timeout:
    description: Seconds to wait for another run that works on this node.
    type: int
    default: 60
attributes:
  check_mode:
    description: Predicts every entry, and asks the programs of O(entries[].validate).
    support: full
  diff_mode:
    description: The content of a file that is written, one line for anything else.
    support: full
"""

EXAMPLES = r"""
- name: Have a timer
  wcp360.hosting.system_files:
    id: server:mine
    entries:
      - {path: /usr/local/lib/mine, state: directory}
      - {path: /usr/local/lib/mine/work.py, content: "{{ lookup('ansible.builtin.file', 'work.py', rstrip=false) }}"}
      - {path: /etc/systemd/system/mine.timer, content: "{{ lookup('ansible.builtin.template', 'mine.timer.j2') }}"}

- name: Take it away
  wcp360.hosting.system_files:
    id: server:mine
    entries:
      - {path: /etc/systemd/system/mine.timer, state: absent}
      - {path: /usr/local/lib/mine/work.py, state: absent}
      - {path: /usr/local/lib/mine, state: absent, unless_used: true}
"""

RETURN = r"""
items:
  description: One result with C(id), C(changed), C(failed), C(msg), C(diff) and C(not_checked).
  type: list
  elements: dict
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wcp360.hosting.plugins.module_utils.items import converge_as_one
from ansible_collections.wcp360.hosting.plugins.module_utils.system_files import SystemFiles

ENTRY = {
    "path": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["file", "directory", "link", "absent"], "default": "file"},
    "content": {"type": "str"},
    "target": {"type": "str"},
    "mode": {"type": "str"},
    "gid": {"type": "int", "default": 0},
    "follow": {"type": "bool", "default": False},
    "validate": {"type": "list", "elements": "str", "default": []},
    "unless_used": {"type": "bool", "default": False},
    "besides": {"type": "list", "elements": "str", "default": []},
}
ARGUMENTS = {
    "id": {"type": "str", "required": True},
    "entries": {"type": "list", "elements": "dict", "options": ENTRY, "required": True},
    "lock_timeout": {"type": "int", "default": 60},
}


def main() -> None:
    """Converge the entries, or preview that, and end with one item."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    converge_as_one(module, SystemFiles().plan)


if __name__ == "__main__":
    main()
