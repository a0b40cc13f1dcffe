"""Domains: the names that tenants own, and the web sites under them."""

from wcp360.modules.domains.module import build

__all__ = ["build"]
