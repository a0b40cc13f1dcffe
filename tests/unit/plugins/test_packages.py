"""What the packages module reads from apt, and its record."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.wcp360.hosting.plugins.module_utils import package_runs, packages
from ansible_collections.wcp360.hosting.plugins.module_utils.packages import PackageChange, PackageError, Record

SIMULATION = """Reading package lists...
Inst libc6 [2.36-9+deb12u10] (2.36-9+deb12u13 Debian:12.12/oldstable [amd64]) []
Inst nginx-common (1.22.1-9+deb12u11 Debian-Security:12/oldstable-security [all])
Conf nginx-common (1.22.1-9+deb12u11 Debian-Security:12/oldstable-security [all])
Purg curl [7.88.1-10]
"""


def test_reads_every_package_of_a_simulation() -> None:
    assert packages._parse_simulation(SIMULATION) == [
        PackageChange("curl", "7.88.1-10", ""),
        PackageChange("libc6", "2.36-9+deb12u10", "2.36-9+deb12u13"),
        PackageChange("nginx-common", "", "1.22.1-9+deb12u11"),
    ]


@pytest.mark.parametrize("name", ["-o", "a b", "nginx=1", "../x", "x.deb/", "", "Nginx", "nginx\n"])
def test_refuses_what_apt_would_take_for_something_else(name: str) -> None:
    with pytest.raises(PackageError, match="is not the name of a Debian package"):
        packages.check_names([name])


def test_record_survives_and_goes_with_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "lib" / "packages" / "nginx.json"
    record = Record(str(path), ["nginx"], {"nginx": "1"})
    record.save()
    assert Record.load(str(path)) == record
    record.names, record.installed = [], {}
    record.save()
    assert not (tmp_path / "lib").exists()
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(PackageError, match=r"nginx\.json is damaged"):
        Record.load(str(path))


def test_nothing_is_removed_without_a_record(tmp_path: Path) -> None:
    request = package_runs.Request(["bash"], str(tmp_path / "none.json"), 1)
    assert package_runs.preview_absent(request) == []
    assert package_runs.make_absent(request) == []


def test_what_another_role_wants_is_not_removed(tmp_path: Path) -> None:
    Record(str(tmp_path / "one.json"), ["bash"], {"bash": "1"}).save()
    Record(str(tmp_path / "two.json"), ["bash"], {}).save()
    request = package_runs.Request(["bash"], str(tmp_path / "one.json"), 1)
    assert package_runs.preview_absent(request) == []


@pytest.mark.skipif(not os.path.exists("/usr/bin/apt-get"), reason="asks apt")
def test_what_is_installed_is_neither_predicted_nor_needed(tmp_path: Path) -> None:
    request = package_runs.Request(["bash"], str(tmp_path / "r.json"), 1)
    assert package_runs.preview_present(request) == []
    assert list(tmp_path.iterdir()) == []
