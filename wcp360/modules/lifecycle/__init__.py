"""Lifecycle: installing, disabling and removing service modules on nodes."""

from wcp360.modules.lifecycle.module import build

__all__ = ["build"]
