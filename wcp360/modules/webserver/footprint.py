"""What PHP masters and sites may touch on a node."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from wcp360.core.footprint import Footprint, Footprints, Shared, tree_of
from wcp360.core.homes import HOME_TRASH

PACKAGES = frozenset({"package"})
NGINX, PHP = "/etc/nginx/wcp360", "/etc/wcp360/php"


def pool(entry: Mapping[str, Any]) -> Footprint:
    """A tenant's PHP master has its configuration, its state and its logs.

    What is removed is moved into a trash first: by its name that one may be made, and what lies in it is another's.
    """
    name = entry["name"]
    paths = {f"{PHP}/current/{name}.conf", f"/var/lib/wcp360/php/{name}", f"/var/log/wcp360/php/{name}"}
    names = {*tree_of(PHP), f"service php-{name}", "/var/lib/wcp360/php/.trash", "/var/log/wcp360/php/.trash"}
    return Footprint(frozenset(paths), frozenset(names))


def site(entry: Mapping[str, Any]) -> Footprint:
    """A site has its configuration, its logs and its own directory in the tenant's home."""
    name = entry["name"]
    paths = {
        f"{NGINX}/current/sites/{_stem(name)}.conf",
        f"{entry['home']}/web/{name}",
        f"/var/log/wcp360/nginx/{name}",
    }
    return Footprint(frozenset(paths), frozenset({"/var/log/wcp360/nginx/.trash", HOME_TRASH}))


def _stem(name: str) -> str:
    """Return the file name of a site without its ending, as the role makes it: 255 bytes are the most (NAME_MAX)."""
    return name if len(name) <= 250 else f"{name[:130]}_{hashlib.sha256(name.encode()).hexdigest()[:16]}"


# How large Nginx's tables are depends on all sites, its pages are all sites'; and a site is served only when Nginx has
# read it.
SITES = Shared(
    always=Footprint(
        frozenset({f"{NGINX}/current/http.conf", f"{NGINX}/current/pages"}),
        frozenset({"service nginx", f"{NGINX}/current/sites", *tree_of(NGINX)}),
    ),
    server=Footprint(
        frozenset(
            {
                "/etc/logrotate.d/wcp360-nginx",
                "/etc/nginx/conf.d/wcp360.conf",
                "/etc/nginx/sites-enabled/default",
                "/etc/systemd/system/wcp360-nginx-logs.service",
                "/etc/systemd/system/wcp360-nginx-logs.socket",
                "/run/wcp360-nginx",
                "/usr/local/lib/wcp360",
                "/var/lib/wcp360",
                "/var/log/wcp360",
                "/var/www/html/index.nginx-debian.html",
                NGINX,
            }
        ),
        frozenset({"service nginx-logs"}),
        PACKAGES,
    ),
)
POOLS = Shared(
    server=Footprint(
        frozenset(
            {
                "/etc/logrotate.d/wcp360-php",
                *(f"/etc/systemd/system/php{version}-fpm.service" for version in ("8.1", "8.2", "8.3", "8.4")),
                *(f"/etc/systemd/system/wcp360-php{unit}" for unit in ("@.service", "@.socket")),
                *(f"/etc/systemd/system/wcp360-php-idle.{kind}" for kind in ("service", "timer")),
                "/etc/systemd/system/wcp360-php-sockets.service",
                "/etc/systemd/system/wcp360.slice",
                "/etc/systemd/system/wcp360-.slice.d",
                "/etc/systemd/system/wcp360-.slice.d/50-wcp360.conf",
                "/usr/local/lib/wcp360",
                "/etc/wcp360",
                "/var/lib/wcp360",
                "/var/log/wcp360",
                PHP,
            }
        ),
        frozenset({"service wcp360-php-idle", "service wcp360-php-sockets"}),
        PACKAGES,
    )
)

FOOTPRINTS = Footprints({"php_fpm_pools": pool, "nginx_sites": site}, {"php_fpm": POOLS, "nginx": SITES})
