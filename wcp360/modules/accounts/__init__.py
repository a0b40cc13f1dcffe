"""Accounts: the tenants, each a Unix user on its nodes."""

from wcp360.modules.accounts.module import build

__all__ = ["build"]
