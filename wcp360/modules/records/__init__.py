"""Records: what WCP360 keeps about its own work: changes, previews, runs, events, audit log and operations."""

from wcp360.modules.records.module import build

__all__ = ["build"]
