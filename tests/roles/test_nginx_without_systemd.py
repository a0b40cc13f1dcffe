"""Role nginx on a node without a service manager: previewed, started, reloaded, suspended and taken away again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hosts.fixtures import require_hosts
from tests.roles.php_node import plain_node
from tests.roles.test_nginx import Panel, site


class PlainHost:
    """A node's address in the form that Panel takes."""

    def __init__(self, node: object, known_hosts: Path) -> None:
        self.node = node
        self.known_hosts = known_hosts

    def inventory(self) -> dict[str, str]:
        found = self.node.host
        self.known_hosts.write_text(found.host_key + "\n")
        return {
            "ansible_host": found.address,
            "ansible_port": found.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": found.key,
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={self.known_hosts} -o IdentitiesOnly=yes",
            "ansible_python_interpreter": "/usr/bin/python3",
        }


@pytest.mark.hosts
@pytest.mark.timeout(600)
def test_from_nothing_to_nothing(tmp_path: Path) -> None:
    require_hosts()
    with plain_node("nginx-plain", tmp_path) as node:
        node.run("sh", "-c", "useradd -u 20000 -m -d /home/acme acme && chmod 711 /home/acme")
        node.run("install", "-d", "-o", "acme", "-g", "www-data", "-m", "750", "/home/acme/web")
        panel = Panel(PlainHost(node, tmp_path / "panel_hosts"), tmp_path)  # type: ignore[arg-type]

        def status() -> str:
            said = node.run(
                "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: a.test", "http://127.0.0.1/"
            )
            return said.strip()

        preview = panel.run([site("a.test")], server=True, check=True)
        done = panel.run([site("a.test")], server=True)
        assert done.code == 0 and not done.failed(), done.output
        assert preview.changes(check=True) == done.changes() != []
        assert status() == "200"
        assert panel.run([site("a.test")], server=True).changes() == []
        assert not panel.run([site("a.test", state="suspended")]).failed()
        assert status() == "503"
        gone = panel.run([site("a.test", state="absent", purge=True)], server="absent")
        assert gone.code == 0 and not gone.failed(), gone.output
        assert node.run("sh", "-c", "find /etc /var/log -name '*wcp360*'").strip() == ""
