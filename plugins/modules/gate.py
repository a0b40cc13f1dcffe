#!/usr/bin/python
# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Documentation of the action plugin gate, which needs no code on the node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gate
short_description: Wait until the program that started the run allows it to go on
description:
  - Runs on the controller. Asks by writing one line to O(path) with C(.ask) behind it and reads the answer, one JSON
    object with C(reason), from O(path) with C(.answer) behind it; both are named pipes of the program's.
  - An empty reason lets the play go on; any other is the message that the task fails with.
version_added: 0.2.0
author: WCP360 contributors (@wcp360)
options:
  path: {description: Path of the two named pipes without what is put behind it., type: path, required: true}
attributes:
  check_mode: {description: Asks in check mode as well., support: full}
  diff_mode: {description: Nothing is changed., support: none}
"""

EXAMPLES = r"""
- name: Ask whether what was predicted may be done
  wcp360.hosting.gate:
    path: /var/lib/wcp360/runs/01JB0000000000000000000000/gate
"""

RETURN = r"""
reason:
  description: Why the play must not go on; empty where it may.
  returned: always
  type: str
"""
