"""Web server: Nginx sites for domains and one PHP-FPM master for each tenant that runs PHP."""

from wcp360.modules.webserver.module import build

__all__ = ["build"]
