"""Roles that write where they must not: a table of faults, each put into a copy of the collection.

A fault in a filter gets the steps that the true filter makes (``step`` by key, ``first`` its first item) and bends them;
a fault in the playbook is a stock task beside them. The batch that meets them is for the tenant ``alpha``.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from tests.unit.engine.toy import ROOT

PARTS = ("galaxy.yml", "meta", "playbooks", "plugins", "roles")
WRAPPER = """

def _bent(true):
    def bent(things, options, *part):
        steps = true(things, options, *part)
        if not things or (part and part[0].endswith(".gone")):
            return steps
        step = {{each["key"].partition(".")[2]: each["args"] for each in steps}}
        first = {{key: (args.get("items") or [{{}}])[0] for key, args in step.items()}}
        {code}
        return steps
    bent.__name__ = true.__name__
    return bent


{name} = _bent({name})
"""
TREE = '{{"id": "tenant:alpha", "account": "alpha", "base": "{base}", {rest}}}'


@dataclass(frozen=True)
class Fault:
    """What is wrong: ``where`` is a role whose filter is bent, or ``task``.

    ``by_module`` says that an Ansible module finds it before the engine compares anything.
    """

    name: str
    where: str
    code: str
    by_module: bool = False

    def told_of(self, other: str) -> Fault:
        """Return the same fault, reported as another resource's."""
        return replace(self, code=self.code.replace("tenant:alpha", other))

    def found_by_module(self) -> Fault:
        """Return the same fault, as one that a module finds."""
        return replace(self, by_module=True)

    def collection(self, path: Path) -> Path:
        """Make a copy of the collection with this fault in it."""
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, path / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                path.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, path / part)
        if self.where == "task":
            self._append(path / "playbooks/tasks/tenants.yml", f"\n\n- name: Something else\n  {self.code}\n")
        else:
            code = WRAPPER.format(code=self.code, name=f"{self.where}_steps")
            self._append(path / f"plugins/filter/{self.where}.py", code)
        return path

    @staticmethod
    def _append(path: Path, text: str) -> None:
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def tree(name: str, base: str, rest: str) -> Fault:
    """One more directory tree that the role makes or takes away."""
    return Fault(name, "tenant", f'step["homes"]["items"].append({TREE.format(base=base, rest=rest)})')


def made(path: str) -> str:
    return f'"directories": [{{"path": "{path}", "mode": "0755"}}]'


def seeded(path: str) -> str:
    new = path.rpartition("/")[0]
    return f'{made(new)}, "seeds": [{{"path": "{path}", "content": "evil", "mode": "0600", "only_with": "{new}"}}]'


def removed(path: str) -> str:
    return f'"state": "absent", "path": "{path}", "trash": "/home/.wcp360-trash", "trash_name": "x", "purge": True'


# Lines are as long as what they bend.
# ruff: noqa: E501
FAULTS = (
    tree("a directory in another tenant's home", "/home", made("beta/web/evil")).found_by_module(),
    Fault("a file of sudo's by a stock task", "task", "ansible.builtin.copy: {content: evil, dest: /etc/sudoers.d/evil}"),
    Fault("the keys of somebody else", "tenant", 'first["keys"]["files"][0]["path"] = "gamma"'),
    Fault("another site's configuration", "nginx", 'first["written"]["files"][0]["path"] = "sites/gamma.test.conf"'),
    Fault(
        "another service is stopped",
        "php_fpm",
        'step["running"]["items"].append({"id": "tenant:alpha", "name": "cron", "unit": "cron.service", "state": "absent"})',
    ),
    Fault("a task that has no check mode", "task", "ansible.builtin.command: {cmd: touch /etc/evil}"),
    tree("another tenant's site is removed", "/home", removed("beta/web/beta.test")).found_by_module(),
    Fault("another tenant's resource is claimed", "tenant", 'first["keys"]["id"] = "tenant:beta"'),
    # The rest is run by `make soak`.
    tree("a home whose name only begins like the tenant's", "/home", made("alpha2")),
    tree("a job for root", "/etc", seeded("cron.evil/job")),
    tree("sudo's rules", "/etc", seeded("sudoers.evil/rule")),
    tree("root's keys", "/root", seeded(".ssh2/authorized_keys")),
    tree("a unit", "/etc/systemd/system", seeded("evil.service.d/evil.conf")),
    tree("a tenant's whole home is removed", "/home", removed("beta")).found_by_module(),
    tree("another tenant's keys within the home", "/home", seeded("beta/.ssh2/evil")).found_by_module(),
    tree("logs of another site", "/var/log/wcp360/nginx", removed("beta.test")),
    tree("state of another tenant's PHP", "/var/lib/wcp360/php", made("gamma")),
    tree("a library of the server's", "/usr/local/lib", seeded("evil/evil.py")),
    tree("the server is claimed", "/home", made("alpha/evil")).told_of("server:tenant"),
    Fault("a domain is claimed by the wrong role", "tenant", 'first["keys"]["id"] = "domain:alpha.test"'),
    Fault("an account under another name", "tenant", 'first["users"]["name"] = "gamma"; first["users"]["uid"] = 29999').found_by_module(),
    Fault(
        "another account is suspended",
        "tenant",
        'step["users"]["items"].append({**first["users"], "id": "tenant:beta", "name": "beta", "uid": 20001, "gid": 20001, "state": "suspended"})',
    ),
    Fault("a pool under another name", "php_fpm", 'first["written"]["files"][0]["path"] = "gamma.conf"'),
    Fault("a pool claims a site", "php_fpm", 'first["written"]["id"] = "domain:alpha.test"'),
    Fault("one more pool", "php_fpm", 'first["written"]["files"].append({**first["written"]["files"][0], "path": "g.conf"})'),
    Fault("a directory beside the site's own", "nginx", 'first["made"]["directories"][-1]["path"] += "2"'),
    Fault("a site claims another tenant's", "nginx", 'first["written"]["id"] = "domain:beta.test"'),
    Fault("a file that all sites would read", "nginx", 'step["written"]["shared"].append({**step["written"]["shared"][0], "path": "evil.conf"})'),
    Fault("a line in the accounts", "task", "ansible.builtin.lineinfile: {path: /etc/passwd, line: 'evil:x:0:0::/:/bin/sh'}"),
    Fault("a user by a stock task", "task", "ansible.builtin.user: {name: evil, uid: 0, non_unique: true}"),
    Fault("root's cron", "task", "ansible.builtin.cron: {name: evil, job: /bin/true}"),
    Fault("a stock service task", "task", "ansible.builtin.service: {name: cron, state: stopped}"),
    Fault("a stock file task", "task", "ansible.builtin.file: {path: /home/beta/evil, state: directory}"),
)  # fmt: skip
SAMPLE = 8
