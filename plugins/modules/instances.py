#!/usr/bin/python
# SPDX-License-Identifier: MIT
# MIT is compatible with the GNU General Public License v3.0, under which ansible-core loads this file.
"""Converge running services by the generation of configuration that each says it has."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: instances
short_description: Start, reload and stop services by the generation that they answer with
version_added: "0.1.0"
author: WCP360 contributors (@wcp360)
description:
  - Asks each running service which generation of its configuration it has, and starts, reloads or stops it where
    that differs from what is wanted. A return code is never trusted; the module waits for the answer.
  - Many services are handled in one call and at once. A service that fails does so alone, with its own last words.
  - Works with systemd, and on nodes without a service manager, where it starts and signals processes itself.
  - Changes no files of the service. Holds the node's lock while it works.
attributes:
  check_mode: {description: "Predicts each start, reload, stop, enable and disable.", support: full}
  diff_mode: {description: One line per service., support: full}
options:
  items:
    description: The services.
    type: list
    elements: dict
    required: true
    suboptions:
      id: {description: Comes back in the result., type: str, required: true}
      name: {description: How messages and differences call the service., type: str, required: true}
      state:
        description: V(absent) is stopped and disabled, for services whose configuration goes away.
        type: str
        choices: [started, stopped, absent]
        default: started
      enabled:
        description: Whether systemd starts it at boot. As O(items[].state) says when left out.
        type: bool
      generation:
        description: The wanted generation, letters and digits. Empty takes the one from O(generations), or any.
        type: str
        default: ""
      unit: {description: The systemd unit., type: str, default: ""}
      socket_unit: {description: A systemd socket unit that comes and goes with the unit., type: str, default: ""}
      on_demand:
        description:
          - Whether its socket unit starts the service when it is needed. Then the service counts as started while the
            socket listens; one that sleeps reads its configuration when it wakes up, so it is not asked and not
            reloaded, and that one that is awake reloads is not reported as a change. New ones are started once, to see
            that they run; of many in one call the first eight. Without a service manager it always runs.
        type: bool
        default: false
      boot_file:
        description:
          - A file in a directory of root's, there while the service shall start at boot, for a unit of yours that
            starts what has one. Enabling by systemd makes it read all its units again, a second where there are
            thousands. Left out, systemd's own enablement is used.
        type: path
        default: ""
      unit_reload_signal:
        description:
          - Signal without SIG for the unit's main process, by which it reads its configuration again. For a unit whose
            own command to reload reads all of it once more before, as Nginx's does. Left out, systemd reloads the unit.
        type: str
        choices: [HUP, USR1, USR2]
      executable:
        description: The program. Where it is missing check mode predicts and says that it could not ask.
        type: path
      wait: {description: Seconds that this service gets to answer. As O(wait) when left out., type: float}
      error_log: {description: File whose last lines are shown when the service fails., type: path, default: ""}
      ask:
        description: How the running service is asked. Left out, only whether it runs counts.
        type: dict
        suboptions:
          http:
            description: The generation is in a response header.
            type: dict
            suboptions:
              port: {description: TCP port., type: int, default: 80}
              address: {description: Address., type: str, default: 127.0.0.1}
              host: {description: Host header., type: str, default: localhost}
              header: {description: Name of the response header., type: str, default: X-Wcp360-Generation}
              path: {description: Path of the request., type: str, default: /}
          fastcgi:
            description: The generation is the answer to a FastCGI request, such as PHP-FPM's C(ping.response).
            type: dict
            suboptions:
              socket: {description: Unix socket., type: path, required: true}
              path: {description: Path that is asked for., type: str, default: /ping}
          stamp:
            description: For services that cannot be asked. The module keeps what they last loaded in a file.
            type: dict
            suboptions:
              path: {description: The file., type: path, required: true}
      command:
        description: How to start it where there is no service manager.
        type: dict
        suboptions:
          argv: {description: Program and arguments., type: list, elements: str, required: true}
          uid: {description: User id that it runs under., type: int, default: 0}
          gid: {description: Group id that it runs under., type: int, default: 0}
          groups:
            description: Further group ids.
            type: list
            elements: int
            default: []
          environment: {description: "Added to PATH, LANG and HOME.", type: dict, default: {}}
          daemonizes:
            description: Whether it detaches itself and writes O(items[].command.pidfile).
            type: bool
            default: false
          pidfile:
            description: Its pid file; only root may be able to write to its directory.
            type: path
            default: ""
          output: {description: File that takes what it prints. Opened by root., type: path, default: ""}
          reload_signal: {description: Signal without SIG., type: str, default: HUP, choices: [HUP, USR1, USR2]}
          stop_signal: {description: Signal without SIG., type: str, default: TERM, choices: [TERM, QUIT, INT]}
          sockets:
            description: Unix sockets that root binds and hands over.
            type: list
            elements: dict
            default: []
            suboptions:
              path: {description: Path in a directory that only root can write to., type: path, required: true}
              gid: {description: Group of the socket., type: int, default: 0}
              mode: {description: Octal mode., type: str, default: "0660"}
          sockets_variable:
            description: Environment variable that names path=descriptor pairs.
            type: str
            default: ""
  generations:
    description: Wanted generation by item id; C(item_generations) of M(wcp360.hosting.config_tree).
    type: dict
  failed_ids:
    description: Items whose configuration was refused. One that never had any is not started.
    type: list
    elements: str
  manager: {description: Service manager., type: str, choices: [auto, systemd, none], default: auto}
  wait: {description: Seconds that each service gets to answer with its new generation., type: float, default: 20}
  lock_timeout: {description: Seconds to wait for another run on this node., type: float, default: 60}
"""

EXAMPLES = r"""
- name: Have nginx run what is on disk
  wcp360.hosting.instances:
    items:
      - id: server:nginx
        name: nginx
        unit: nginx.service
        generation: 0123456789abcdef
        ask: {http: {port: 80}}
"""

RETURN = r"""
items:
  description: One result per item - id, changed, failed, msg, diff, not_checked.
  returned: always
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wcp360.hosting.plugins.module_utils.call_instances import ARGUMENTS, run


def main() -> None:
    """Run the module."""
    run(AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True))


if __name__ == "__main__":
    main()
