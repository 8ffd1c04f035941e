"""The file system of sockets, and the making of them (illumos sockfs; socreate, sosocketpair)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net.socketvar import AF_INET, AF_INET6, AF_UNIX
from lxemu.kernel.vfs.fcntl import FREAD, FWRITE
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.vnode import Vfs, Vnode, makedev

if TYPE_CHECKING:
    from lxemu.kernel.clock import Clock
    from lxemu.kernel.cred import Cred
    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.socket import Sonode

_FSID: Final = makedev(0, 8)

#: The numbers of sockets are of a usual length: tools find them in links' targets by it.
_FIRST_NODEID: Final = 10_000

#: The module of each family; it is imported with the first socket of it, and has
#: `create(stack, family, sotype, protocol, cred) -> Sonode`, which raises EPROTONOSUPPORT,
#: ESOCKTNOSUPPORT, EPERM. A brand adds those that only its programs know.
FAMILIES: Final[dict[int, str]] = {
    AF_UNIX: "lxemu.kernel.net.unix",
    AF_INET: "lxemu.kernel.net.inet",
    AF_INET6: "lxemu.kernel.net.inet",
}


class SockFs(Vfs):
    """The file system of sockets; its files have no names, only numbers."""

    name = "sockfs"

    def __init__(self, clock: Clock) -> None:
        super().__init__(_FSID, now=clock.realtime)
        self._last = _FIRST_NODEID

    def root(self) -> Vnode:
        """There is no tree; raises ENOENT."""
        raise KernelError(Errno.ENOENT)

    def new_nodeid(self) -> int:
        """Return the number of a new socket."""
        self._last += 1
        return self._last


def socreate(stack: NetStack, family: int, sotype: int, protocol: int, cred: Cred) -> Sonode:
    """Make a socket. Raises EAFNOSUPPORT, and what the family raises."""
    module = FAMILIES.get(family)
    if module is None:
        raise KernelError(Errno.EAFNOSUPPORT)
    try:
        maker: Any = import_module(module)
    except ModuleNotFoundError:
        raise KernelError(Errno.EAFNOSUPPORT) from None
    made: Sonode = maker.create(stack, family, sotype, protocol, cred)
    return made


def sofile(so: Sonode, flags: int, cred: Cred) -> File:
    """Return the open file of a new socket; `flags` are status flags (O_NONBLOCK)."""
    name = Name(None, b"socket:[%d]" % so.nodeid, so)
    file = File(so, name, flags | FREAD | FWRITE, cred)
    so.open_file = ref(file)
    return file
