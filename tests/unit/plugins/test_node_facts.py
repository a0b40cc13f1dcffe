"""Node facts from a made-up file system."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.wcp360.hosting.plugins.module_utils.node_facts import collect


def write(root: Path, path: str, text: str = "", mode: int = 0o644) -> None:
    """Make one file of the made-up file system."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


def test_reads_a_debian_with_everything(tmp_path: Path) -> None:
    write(
        tmp_path, "etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n# x=y\n'
    )
    write(tmp_path, "proc/meminfo", "MemTotal:        2048000 kB\nMemFree: 1 kB\n")
    write(tmp_path, "proc/net/if_inet6", "0000 01 80 10 80 lo\n")
    for program in ("nginx", "sshd", "php-fpm8.2", "php-fpm8.10", "php-fpm"):
        write(tmp_path, f"usr/sbin/{program}", mode=0o755)
    write(tmp_path, "run/sshd.pid", "77\n")
    write(tmp_path, "proc/77/comm", "sshd\n")
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    facts = collect(str(tmp_path))
    assert (facts["distribution"], facts["distribution_version"], facts["supported"], facts["tested"]) == (
        "debian",
        "12",
        True,
        True,
    )
    assert (facts["service_manager"], facts["ipv6"], facts["memory_mb"]) == ("systemd", True, 2000)
    assert (facts["nginx"], facts["sshd"], facts["php_fpm"]) == ("/usr/sbin/nginx", "/usr/sbin/sshd", ["8.2", "8.10"])
    assert facts["sshd_running"] is True


def test_an_empty_node_is_unsupported_and_no_error(tmp_path: Path) -> None:
    facts = collect(str(tmp_path))
    assert (facts["service_manager"], facts["supported"], facts["ipv6"], facts["sshd_running"]) == (
        "none",
        False,
        False,
        False,
    )
    assert (facts["nginx"], facts["sshd"], facts["php_fpm"], facts["memory_mb"]) == ("", "", [], 0)
