#!/usr/bin/python
# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Ask the web server of the node itself whether it serves what was configured."""

from __future__ import annotations

DOCUMENTATION = r"""
module: http_probe
short_description: See that the right virtual host answers
description:
  - Asks the node's own web server by Host header and compares the response header C(X-Wcp360-Site), which holds the
    site's
    name and the digest of its configuration, with what was written.
  - Waits until the answer is right, at most O(timeout) seconds for all items together. An item that is not answered
    rightly fails alone.
  - Changes nothing. In check mode nothing is asked, because what is to be served is not there yet.
version_added: "0.1.0"
options:
  items:
    description: What to ask for.
    type: list
    elements: dict
    required: true
    suboptions:
      id:
        description: The name under which the item is reported.
        type: str
        required: true
      host:
        description: The Host header.
        type: str
        required: true
      expect_site:
        description: What C(X-Wcp360-Site) has to be. Empty means that the site of that name must not answer any more.
        type: str
        default: ""
      expect_status:
        description: Status codes that are right. Empty takes any.
        type: list
        elements: int
        default: []
      path:
        description:
          - The path. The default is one that the sites answer by themselves, so that no customer's program runs or
            hangs.
        type: str
        default: /.wcp360-probe
  addresses:
    description: Addresses of the node. IPv6 ones are left out where it has no IPv6.
    type: list
    elements: str
    default: [127.0.0.1, "::1"]
  port:
    description: TCP port.
    type: int
    default: 80
  timeout:
    description: Seconds that all items may take together before the wrong answers count.
    type: int
    default: 10
attributes:
  check_mode:
    description: Nothing is asked; that nothing changes is true either way.
    support: full
author: WCP360 contributors (@wcp360)
"""

EXAMPLES = r"""
- name: The site is served
  wcp360.hosting.http_probe:
    items:
      - id: domain:demo.test
        host: demo.test
        expect_site: "demo.test:{{ tree.item_generations['domain:demo.test'] }}"
"""

RETURN = r"""
items:
  description: One result per item, with id, changed (always false), failed, msg, diff and not_checked.
  returned: always
  type: list
  elements: dict
left_out:
  description: Addresses that were not asked because the node has no IPv6.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wcp360.hosting.plugins.module_utils.call_http_probe import ARGUMENTS, run


def main() -> None:
    """Run the module."""
    run(AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True))


if __name__ == "__main__":
    main()
