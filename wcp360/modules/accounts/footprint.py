"""What accounts of the role ``tenant`` may touch on a node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wcp360.core.footprint import Footprint, Footprints, Shared, tree_of
from wcp360.core.homes import HOME_TRASH

KEYS = "/etc/wcp360/ssh"


def account(entry: Mapping[str, Any]) -> Footprint:
    """An account has its home and its keys, its group, and whatever else of its own is found by its uid."""
    name = entry["name"]
    paths = {entry["home"], f"{KEYS}/current/{name}"}
    names = {f"{kind} {name}" for kind in ("account", "group", "processes of", "files left by")}
    return Footprint(frozenset(paths), frozenset({*names, *tree_of(KEYS), HOME_TRASH}))


SERVER = Footprint(
    paths=frozenset(
        {
            "/etc/wcp360",
            "/etc/ssh/sshd_config.d/wcp360.conf",
            "/etc/systemd/system/wcp360-trash.service",
            "/etc/systemd/system/wcp360-trash.timer",
            "/etc/cron.daily/wcp360-trash",
            HOME_TRASH,
            "/usr/local/lib/wcp360",
            "/var/lib/systemd/timers/stamp-wcp360-trash.timer",
            "/var/lib/wcp360",
            "/var/log/wcp360",
            "/run/wcp360",
        }
    ),
    # The directory of all homes itself, not what lies in it.
    names=frozenset({"/home", "service sshd", "service wcp360-trash.timer"}),
)

FOOTPRINTS = Footprints({"tenant_accounts": account}, {"tenant": Shared(server=SERVER)})
