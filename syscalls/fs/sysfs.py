"""A small Linux /sys: what C libraries and run-time systems look for (lx_sysvnops.c; sysfs(5))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from syscalls.fs.pseudo import ROOT_NODEID, PseudoDir, PseudoVfs

if TYPE_CHECKING:
    from collections.abc import Callable


class SysFs(PseudoVfs):
    """One /sys, of one machine: a processor, a memory node and the loopback interface."""

    def __init__(self, machine: Any, fsid: int) -> None:
        super().__init__(fsid, "sysfs", machine.clock.realtime)
        root = PseudoDir(self, nodeid=ROOT_NODEID)
        self.set_root(root)
        root.fill = lambda: self._fill(root)

    @staticmethod
    def _fill(root: PseudoDir) -> None:
        """Enter everything."""
        for name in (b"block", b"bus", b"class", b"dev", b"firmware", b"fs", b"module", b"power"):
            root.directory(name)
        fs = root.entries[b"fs"]
        assert isinstance(fs, PseudoDir)
        fs.directory(b"cgroup")
        system = root.directory(b"devices").directory(b"system")
        _fill_cpu(system.directory(b"cpu"))
        node = system.directory(b"node")
        for name in (b"online", b"possible", b"has_cpu", b"has_memory", b"has_normal_memory"):
            node.text(name, _line(b"0"))
        node0 = node.directory(b"node0")
        node0.text(b"cpulist", _line(b"0"))
        node0.text(b"cpumap", _line(b"1"))
        _fill_net(root)
        mm = root.directory(b"kernel").directory(b"mm")
        # The daemon that merges equal pages is not running, and cannot be started.
        ksm = mm.directory(b"ksm")
        for name in (b"run", b"pages_shared", b"pages_sharing", b"pages_unshared", b"full_scans"):
            ksm.text(name, _line(b"0"))


def _line(text: bytes) -> Callable[[], bytes]:
    return lambda: text + b"\n"


def _fill_cpu(cpu: PseudoDir) -> None:
    for name in (b"online", b"possible", b"present"):
        cpu.text(name, _line(b"0"))
    cpu.text(b"offline", _line(b""))
    cpu.text(b"isolated", _line(b""))
    cpu.text(b"kernel_max", _line(b"63"))
    topology = cpu.directory(b"cpu0").directory(b"topology")
    values = {
        b"core_id": b"0",
        b"physical_package_id": b"0",
        b"core_siblings": b"1",
        b"core_siblings_list": b"0",
        b"thread_siblings": b"1",
        b"thread_siblings_list": b"0",
    }
    for name, value in values.items():
        topology.text(name, _line(value))


def _fill_net(root: PseudoDir) -> None:
    devices = root.entries[b"devices"]
    assert isinstance(devices, PseudoDir)
    lo = devices.directory(b"virtual").directory(b"net").directory(b"lo")
    values = {
        b"address": b"00:00:00:00:00:00",
        b"addr_len": b"6",
        b"flags": b"0x9",
        b"ifindex": b"1",
        b"mtu": b"65536",
        b"operstate": b"unknown",
        b"tx_queue_len": b"1000",
        b"type": b"772",
    }
    for name, value in values.items():
        lo.text(name, _line(value))
    classes = root.entries[b"class"]
    assert isinstance(classes, PseudoDir)
    net = classes.directory(b"net")
    net.link(b"lo", lambda: b"../../devices/virtual/net/lo")
