"""AF_NETLINK: messages between programs and Linux's network configuration (lx_netlink.c)."""

from __future__ import annotations
