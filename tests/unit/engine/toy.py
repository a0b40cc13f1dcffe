"""A collection in miniature: the engine's side of the contract with roles, without servers to install.

Each item is a file in the directory ``home``; the Ansible module notes every change in ``changes.log`` there, so that
a test can tell whether anything was done twice. A comment ``refuse`` makes the item fail, ``crash`` the module, and
``sleep N`` take its time; ``hold N`` does that with the node's lock, as the real Ansible modules have it.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[3]

MODULE = """
import os, time
from contextlib import nullcontext
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wcp360.hosting.plugins.module_utils.items import lock_or_fail

def one(module, item):
    result = {"id": item["id"], "changed": False, "failed": False, "msg": "", "diff": [], "not_checked": ""}
    path = os.path.join(item["home"], item["name"])
    before = open(path).read() if os.path.exists(path) else ""
    after = "" if item["state"] == "absent" else item.get("comment", "") + "\\n"
    if after.startswith("crash"):
        module.fail_json(msg="the module crashed")
    if after.startswith("refuse"):
        return result | {"failed": True, "msg": "this is refused"}
    if before == after:
        return result
    if not module.check_mode:
        if after.startswith(("sleep", "hold")):
            time.sleep(float(after.split()[1]))
        with open(os.path.join(item["home"], "changes.log"), "a") as log:
            log.write(item["name"] + "\\n")
        if after:
            with open(path, "w") as file:
                file.write(after)
        else:
            os.unlink(path)
    diff = [{"before_header": path, "after_header": path, "before": before, "after": after}]
    return result | {"changed": True, "diff": diff}

def main():
    arguments = {"items": {"type": "list", "elements": "dict"}, "lock_timeout": {"type": "int", "default": 1}}
    module = AnsibleModule(arguments, supports_check_mode=True)
    locks = not module.check_mode and any(item.get("comment", "").startswith("hold") for item in module.params["items"])
    with lock_or_fail(module) if locks else nullcontext():
        items = [one(module, item) for item in module.params["items"]]
    module.exit_json(changed=any(item["changed"] for item in items), items=items)

main()
"""

FACTS = """
from ansible.module_utils.basic import AnsibleModule

def main():
    module = AnsibleModule({}, supports_check_mode=True)
    node = {"id": "node", "changed": False, "failed": False, "msg": "", "facts": {"service_manager": "none"}}
    module.exit_json(changed=False, items=[node])

main()
"""

PLAYBOOK = """
- name: Converge
  hosts: all
  gather_facts: false
  tasks:
    - name: Read the request
      ansible.builtin.set_fact:
        request: "{{ lookup('ansible.builtin.file', wcp360_request_file) | from_json }}"
    - name: Learn about the node
      wcp360.hosting.toy_facts:
    - name: Converge role
      ansible.builtin.include_role:
        name: "wcp360.hosting.{{ toy_role.name }}"
      vars:
        toy_items: "{{ request[toy_role.list] }}"
      when: request.server[toy_role.name] or request[toy_role.list] | length > 0
      loop:
        - {name: tenant, list: tenant_accounts}
        - {name: php_fpm, list: php_fpm_pools}
        - {name: nginx, list: nginx_sites}
      loop_control:
        loop_var: toy_role
        label: "{{ toy_role.name }}"
"""

TASKS = """
- name: Converge items
  wcp360.hosting.toy_items:
    items: "{{ toy_items }}"
- name: Finish
  ansible.builtin.meta: noop
"""


def make_collection(path: Path) -> Path:
    """Write the collection below ``path`` and return its root."""
    files = {
        "galaxy.yml": "namespace: wcp360\nname: hosting\nversion: 0.0.1\nreadme: README.md\nauthors: [nobody]\n",
        "plugins/modules/toy_items.py": MODULE,
        "plugins/modules/toy_facts.py": FACTS,
        "playbooks/converge.yml": PLAYBOOK,
        "playbooks/tenants.yml": PLAYBOOK,
        "roles/tenant/tasks/main.yml": TASKS,
        "roles/php_fpm/tasks/main.yml": TASKS,
        "roles/nginx/tasks/main.yml": TASKS,
    }
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    (path / "plugins/module_utils").symlink_to(ROOT / "plugins/module_utils", target_is_directory=True)
    (path / "plugins/callback").symlink_to(ROOT / "plugins/callback", target_is_directory=True)
    (path / "plugins/plugin_utils").symlink_to(ROOT / "plugins/plugin_utils", target_is_directory=True)
    return path
