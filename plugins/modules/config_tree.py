#!/usr/bin/python
# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Write a directory of configuration files as one transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
module: config_tree
short_description: Write a service's configuration files as one transaction
description:
  - Keeps a directory of generated files for a service as I(generations) behind one symbolic link. What differs is
    written
    into a new generation, the service's own checker judges the staged whole in a scratch copy, and one rename swaps
    it in,
    so that what is on disk passes the checker at every instant, also when the run is killed.
  - An item that the checker refuses keeps its last files (or is left out when it is new) and is reported as failed
    with what
    the checker said. The others go in. The task itself does not fail because of an item.
  - Check mode renders, compares and lets the checker judge in the same way, and writes nothing but a scratch
    directory.
  - Items that are not listed are left alone. A file in the tree that this module did not write is never changed.
version_added: "0.1.0"
options:
  path:
    description: The tree's directory. The service reads C(<path>/current). One that exists and was not made by this
      module is refused.
    type: path
    required: true
  state:
    description:
      - V(absent) takes the whole tree away, and reports it for all items but those that O(items) lists as absent,
        which a task before this one has reported.
    type: str
    choices: [present, absent]
    default: present
  items:
    description: What the tree holds, one element per object. Each succeeds or fails alone.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: The name under which the item is reported.
        type: str
        required: true
      state:
        description: Whether the item's files are there.
        type: str
        choices: [present, absent]
        default: present
      refuse:
        description: A sentence that says why the item cannot be converged. It then fails with it and keeps its last
          files.
        type: str
        default: ""
      claims:
        description: Names that nothing else, no other item and no foreign file (see O(scan)), may have.
        type: list
        elements: str
        default: []
      files:
        description: The item's files. Those that it had before and that are no longer listed are removed.
        type: list
        elements: dict
        default: []
        suboptions: &file
          path:
            description: Path relative to the generation.
            type: str
            required: true
          content:
            description:
              - The content. V(@@WCP360_ITEM@@) becomes the item's digest and, in O(shared) files,
                V(@@WCP360_GENERATION@@) the generation's.
            type: str
          template:
            description: A template of the role, rendered on the controller instead of O(items[].files[].content).
            type: str
          variables:
            description: Variables for the template. Their values are data and never evaluated.
            type: dict
          mode:
            description: Octal mode.
            type: str
            default: "0644"
          owner:
            description: Name or number of the owner.
            type: str
            default: root
          group:
            description: Name or number of the group.
            type: str
            default: root
  shared:
    description: Files of the tree that belong to no item. Left out, those of the last call are kept.
    type: list
    elements: dict
    suboptions: *file
  entries:
    description:
      - Files outside of the tree, by absolute path, through which the service finds it. They are written last and
        removed first.
      - One that exists and has another first line than the wanted content is foreign, and refused with its path.
      - What a killed run left beside one, with C(~) behind its name, is taken away.
    type: list
    elements: dict
    default: []
    suboptions: *file
  shared_id:
    description: The name under which the shared files and the entries are reported.
    type: str
    default: shared
  shared_claims:
    description: Claims of the shared files. A foreign file that has one of them makes every item fail.
    type: list
    elements: str
    default: []
  directory_mode:
    description:
      - Mode of the tree's directories, which belong to whoever runs the module. One that has another mode or owner is
        put right, and reported for O(shared_id) where the call has shared files or entries, otherwise for one item.
      - Directories that hold nothing but files of somebody else's, or nothing at all, are left as they are.
    type: str
    default: "0755"
  scan:
    description: How to find what foreign files claim.
    type: dict
    suboptions:
      start:
        description: The service's main file.
        type: path
        required: true
      include:
        description: Regular expression of an include, with the file's name or pattern as its one group.
        type: str
        required: true
      claims:
        description: Regular expressions of a claim, with the claimed words as their one group.
        type: list
        elements: str
        required: true
  checker:
    description: How the service judges a configuration.
    type: dict
    suboptions:
      service:
        description: The service's name in messages.
        type: str
        required: true
      argv:
        description: The command. C({root}) is the scratch directory, C({path}) the staged generation, C({file}) the
          one file.
        type: list
        elements: str
        required: true
      trees:
        description: Directories that are copied into the scratch directory. Their paths in text are rewritten to the
          copy.
        type: list
        elements: path
        default: []
      redirect:
        description: Path prefixes that are rewritten to the scratch directory, so that the checker makes no logs,
          pid files or sockets.
        type: list
        elements: path
        default: [/var/log, /run, /var/run]
      keep:
        description:
          - Files below O(checker.redirect) that the checker may open where they are, if they are there already. A file
            that holds no path to be rewritten is linked to instead of copied, as long as its item is not listed.
        type: list
        elements: path
        default: []
      overlay:
        description: Changes to the copy, for files that the play changes outside of the tree.
        type: list
        elements: dict
        default: []
        suboptions:
          path:
            description: The real path.
            type: path
            required: true
          content:
            description: What the file holds.
            type: str
          absent:
            description: Whether the file is not there.
            type: bool
            default: false
          unless:
            description: Left out when a line of the copied trees matches this regular expression.
            type: str
      per_file:
        description: Whether the checker takes one file, so that it runs once for each changed file of an item.
        type: bool
        default: false
      together:
        description:
          - >-
            Line of the checker's language that takes in the file C({file}). With it and O(checker.per_file), all
            changed files are checked in one run by a file of such lines, and one by one only to find the refused ones.
          - Every file must then be whole in itself, so that it means the same after another one.
        type: str
        default: ""
  verdict:
    description:
      - RV(verdict) of the same call in check mode. Where nothing that it rests on has changed since, the checker is not
        asked again.
    type: str
    default: ""
  keep_generations:
    description: How many generations stay on disk, the current one included.
    type: int
    default: 3
  lock_timeout:
    description: Seconds to wait for another run on the same node.
    type: int
    default: 60
attributes:
  check_mode:
    description: Predicts exactly what a run then does.
    support: full
  diff_mode:
    description: One diff per file, and per directory that somebody changed.
    support: full
author: WCP360 contributors (@wcp360)
"""

EXAMPLES = r"""
- name: Serve what the list says
  wcp360.hosting.config_tree:
    path: /etc/nginx/wcp360
    items:
      - id: domain:demo.test
        claims: [demo.test]
        files:
          - path: sites/demo.test.conf
            template: site.conf.j2
            variables: {site: {name: demo.test}}
    checker:
      service: nginx
      argv: [nginx, -t, -q, -c, "{root}/etc/nginx/nginx.conf"]
      trees: [/etc/nginx]
"""

RETURN = r"""
items:
  description: One result per item, with id, changed, failed, msg, diff and not_checked.
  returned: always
  type: list
  elements: dict
generation:
  description:
    - Digest of the configuration after the run, in check mode the one that it would have.
    - Empty when the tree as a whole was refused, as something foreign is in its way. Then every item and the shared
      files are reported as failed.
  returned: when state is present
  type: str
item_generations:
  description: Digest per item that is there after the run, items that were not listed included.
  returned: when state is present
  type: dict
failed_ids:
  description: The ids of the items that failed.
  returned: when state is present
  type: list
  elements: str
verdict:
  description: A digest of what the checker's verdict rests on; empty where it refused something or was not asked.
  returned: when state is present
  type: str
path:
  description: The tree's directory.
  returned: when state is present
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wcp360.hosting.plugins.module_utils.call_config_tree import run
from ansible_collections.wcp360.hosting.plugins.module_utils.config_tree_spec import ARGUMENTS


def main() -> None:
    """Run the module."""
    run(AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True))


if __name__ == "__main__":
    main()
