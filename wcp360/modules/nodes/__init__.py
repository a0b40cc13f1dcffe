"""Nodes: the servers that WCP360 manages; this machine is one."""

from wcp360.modules.nodes.module import build

__all__ = ["build"]
