#!/usr/bin/python
# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Ansible module: directories, create-only files and removals in trees that belong to somebody else."""

from __future__ import annotations

DOCUMENTATION = r"""
module: owned_tree
short_description: Make and remove directories where untrusted users can write
description:
  - Converges directories, create-only files and removals below a directory that only root can write to.
  - Reaches everything by descriptors and never follows a symbolic link. A link or file in the way, or a directory of
    another owner than expected, fails the item and names the path; nothing is changed then.
  - A new directory is filled while only root can enter it and handed to its owner last.
  - Never fails because of an item. The outcome of each is in RV(items).
version_added: 0.1.0
author: WCP360 contributors (@wcp360)
options:
  items:
    description: What has to be there or gone.
    type: list
    elements: dict
    required: true
    suboptions:
      id:
        description: Name of the item in the result.
        type: str
        required: true
      state:
        description: Whether the directories have to be there or O(items[].path) has to be gone.
        type: str
        choices: [present, absent]
        default: present
      base:
        description: Absolute path of a directory of root that nobody else can write to.
        type: path
        required: true
      owner_uid:
        description: The user whose tree it is. Directories on the way belong to this user or to root.
        type: int
        required: true
      owner_gid:
        description: The group for entries without one.
        type: int
        required: true
      directories:
        description: Directories, parents before what is in them.
        type: list
        elements: dict
        default: []
        suboptions:
          path:
            description: Path relative to O(items[].base).
            type: str
            required: true
          mode:
            description: Octal mode, in quotes.
            type: str
            default: "0750"
          uid:
            description: Owner; O(items[].owner_uid) by default.
            type: int
          gid:
            description: Group; O(items[].owner_gid) by default.
            type: int
      seeds:
        description: Files that are written once, when the directory they come with is made.
        type: list
        elements: dict
        default: []
        suboptions:
          path:
            description: Path relative to O(items[].base).
            type: str
            required: true
          content:
            description: Content of the file.
            type: str
            default: ""
          mode:
            description: Octal mode, in quotes.
            type: str
            default: "0640"
          uid:
            description: Owner; O(items[].owner_uid) by default.
            type: int
          gid:
            description: Group; O(items[].owner_gid) by default.
            type: int
          only_with:
            description: The directory of this item whose creation the file comes with.
            type: str
            required: true
      path:
        description: What has to be gone, relative to O(items[].base). Required with O(items[].state=absent).
        type: str
        default: ""
      trash:
        description:
          - Private directory of root on the same file system; removals are renamed into it. Made where it is missing.
          - Required with O(items[].state=absent).
        type: path
      trash_name:
        description: Name in the trash, a UTC stamp is appended; last component and owner's uid by default.
        type: str
        default: ""
      purge:
        description: Delete at once instead of keeping it in the trash.
        type: bool
        default: false
  lock_timeout:
    description: Seconds to wait for another run that works on this node.
    type: int
    default: 60
attributes:
  check_mode:
    description: Predicts every directory and file. What other tasks of the run will have made counts as made.
    support: full
  diff_mode:
    description: One line for a directory, the content for a file.
    support: full
"""

EXAMPLES = r"""
- name: A home with a private directory
  wcp360.hosting.owned_tree:
    items:
      - id: "tenant:demo"
        base: /home
        owner_uid: 20000
        owner_gid: 20000
        directories:
          - {path: demo, mode: "0711"}
          - {path: demo/tmp, mode: "0700"}

- name: Take the home away, recoverable
  wcp360.hosting.owned_tree:
    items:
      - id: "tenant:demo"
        state: absent
        base: /home
        owner_uid: 20000
        owner_gid: 20000
        path: demo
        trash: /home/.wcp360-trash
"""

RETURN = r"""
items:
  description: One result for each item with C(id), C(changed), C(failed), C(msg), C(diff) and C(not_checked).
  type: list
  elements: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wcp360.hosting.plugins.module_utils.call_owned_tree import ARGUMENTS, run


def main() -> None:
    """Converge the trees, or preview that, and end with one result for each item."""
    run(AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True))


if __name__ == "__main__":
    main()
