"""Devices: the switch from device numbers to drivers, and the memory drivers (mm(4D)).

Which numbers a device has is a matter of the brand, which registers the drivers.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.poll import POLLIN, POLLOUT, POLLRDNORM, POLLWRBAND, Pollhead
from lxemu.kernel.vfs.shadow import ShadowVnode, shadow_of
from lxemu.kernel.vfs.vnode import VCHR, Vnode, major

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.vfs.file import File


class Driver:
    """A character device. The defaults are those of a device that does nothing."""

    #: Whether lseek works (it always gives 0) or fails with ESPIPE.
    seekable = True
    #: Whether mapping the device gives anonymous memory.
    map_anon = False

    def open(self, vnode: Vnode, file: File) -> Vnode | None:  # noqa: ARG002
        """Prepare for use; a returned vnode takes the device's place in the file (a clone)."""
        return None

    def close(self, vnode: Vnode, file: File) -> None:
        """Note that the last descriptor of `file` has gone."""

    def read(self, file: File, n: int) -> bytes:  # noqa: ARG002
        """Read up to `n` bytes; the default raises EINVAL."""
        raise KernelError(Errno.EINVAL)

    def write(self, file: File, data: bytes | memoryview) -> int:  # noqa: ARG002
        """Write; the default raises EINVAL."""
        raise KernelError(Errno.EINVAL)

    def ioctl(self, file: File, cmd: int, arg: Any) -> Any:  # noqa: ARG002
        """Do a device request; the default raises ENOTTY."""
        raise KernelError(Errno.ENOTTY)

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:  # noqa: ARG002
        """Return the ready events; the default is always ready."""
        return events & (POLLIN | POLLRDNORM | POLLOUT | POLLWRBAND), None


class DevSwitch:
    """Drivers by device number.

    One given for a whole major serves what has no driver of its own.
    """

    def __init__(self) -> None:
        self._devices: dict[int, Driver] = {}
        self._majors: dict[int, Driver] = {}

    def register(self, rdev: int, driver: Driver) -> None:
        """Let `driver` serve the device `rdev` (makedev(major, minor))."""
        self._devices[rdev] = driver

    def register_major(self, number: int, driver: Driver) -> None:
        """Let `driver` serve every minor of a major number."""
        self._majors[number] = driver

    def unregister(self, rdev: int) -> None:
        """Forget the driver of `rdev`."""
        self._devices.pop(rdev, None)

    def find(self, rdev: int) -> Driver:
        """Return the driver of `rdev`; raises ENXIO."""
        driver = self._devices.get(rdev)
        if driver is None:
            driver = self._majors.get(major(rdev))
        if driver is None:
            raise KernelError(Errno.ENXIO)
        return driver


class SpecVnode(ShadowVnode):
    """An open device."""

    __slots__ = ("driver", "rdev")

    def __init__(self, realvp: Vnode, driver: Driver, rdev: int) -> None:
        super().__init__(realvp)
        self.driver = driver
        self.rdev = rdev

    @property
    def map_anon(self) -> bool:  # type: ignore[override]
        """Whether mapping the device gives anonymous memory."""
        return self.driver.map_anon

    def open(self, file: File) -> Vnode | None:
        """Open the device."""
        return self.driver.open(self, file)

    def close(self, file: File) -> None:
        """Close the device."""
        self.driver.close(self, file)

    def seek_check(self) -> bool:
        """Ask the driver whether there is a position."""
        return self.driver.seekable

    def sread(self, file: File, n: int) -> bytes:
        """Read from the device."""
        return self.driver.read(file, n)

    def swrite(self, file: File, data: bytes | memoryview) -> int:
        """Write to the device."""
        return self.driver.write(file, data)

    def ioctl(self, file: File, cmd: int, arg: Any) -> Any:
        """Do a device request."""
        return self.driver.ioctl(file, cmd, arg)

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:
        """Poll the device."""
        return self.driver.poll(file, events)


def open_device(vnode: Vnode, file: File, devices: DevSwitch | None) -> Vnode:
    """Open the device node `vnode`.

    Returns the vnode to use. Raises ENXIO, and what the driver does.
    """
    if devices is None or vnode.type != VCHR:
        raise KernelError(Errno.ENXIO)
    spec = shadow_of(vnode)
    if not isinstance(spec, SpecVnode):
        rdev = vnode.getattr().rdev
        spec = SpecVnode(vnode, devices.find(rdev), rdev)
    return spec.open(file) or spec


class NullDriver(Driver):
    """Reads as empty, swallows what is written."""

    def read(self, file: File, n: int) -> bytes:  # noqa: ARG002
        """Return the end of file."""
        return b""

    def write(self, file: File, data: bytes | memoryview) -> int:  # noqa: ARG002
        """Take everything."""
        return len(data)


class ZeroDriver(NullDriver):
    """Reads as zeros."""

    map_anon = True

    def read(self, file: File, n: int) -> bytes:  # noqa: ARG002
        """Return `n` zeros."""
        return bytes(n)


class FullDriver(ZeroDriver):
    """Reads as zeros and has no room."""

    map_anon = False

    def write(self, file: File, data: bytes | memoryview) -> int:  # noqa: ARG002
        """Fail with ENOSPC."""
        raise KernelError(Errno.ENOSPC)


#: Request that returns how much entropy there is, in bits (ours).
RANDOM_GETENTROPY = 0x5200
#: The pool is always full.
ENTROPY_BITS = 256


class RandomDriver(Driver):
    """Reads bytes of `entropy`; what is written is taken and not used."""

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self.entropy = entropy

    def read(self, file: File, n: int) -> bytes:  # noqa: ARG002
        """Return `n` random bytes."""
        return self.entropy(n)

    def write(self, file: File, data: bytes | memoryview) -> int:  # noqa: ARG002
        """Take everything."""
        return len(data)

    def ioctl(self, file: File, cmd: int, arg: Any) -> Any:
        """Tell how much entropy there is; raises ENOTTY for another request."""
        if cmd == RANDOM_GETENTROPY:
            return ENTROPY_BITS
        return super().ioctl(file, cmd, arg)
