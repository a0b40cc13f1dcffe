"""The declaration of the module ``webserver``."""

from __future__ import annotations

from wcp360.core.registry import Module
from wcp360.core.resources import Renderer
from wcp360.modules.webserver import desired
from wcp360.modules.webserver.footprint import FOOTPRINTS


def build() -> Module:
    """Declare the module: it has no operations of its own and renders tenants, domains and itself."""
    return Module(
        name=desired.NAME,
        title="Web server (Nginx and PHP-FPM)",
        renderers=(
            Renderer("module", desired.server),
            Renderer("tenant", desired.pool, desired.pool_depends),
            Renderer("domain", desired.site, desired.site_depends),
        ),
        roles=("php_fpm", "nginx"),
        footprints=FOOTPRINTS,
    )
