"""Where memory is placed: set_mempolicy(2), get_mempolicy(2), mbind(2).

A machine has one memory node, so a policy decides nothing: it is checked, remembered and read back.
"""

from __future__ import annotations

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from syscalls.abi import Int, Out, Ptr, Size, UInt, ULong, syscall

LX_MPOL_DEFAULT, LX_MPOL_PREFERRED, LX_MPOL_BIND, LX_MPOL_INTERLEAVE = range(4)
LX_MPOL_LOCAL, LX_MPOL_PREFERRED_MANY, LX_MPOL_WEIGHTED_INTERLEAVE = 4, 5, 6
LX_MPOL_F_STATIC_NODES, LX_MPOL_F_RELATIVE_NODES = 1 << 15, 1 << 14
LX_MPOL_F_NUMA_BALANCING = 1 << 13
_MODE_FLAGS = LX_MPOL_F_STATIC_NODES | LX_MPOL_F_RELATIVE_NODES | LX_MPOL_F_NUMA_BALANCING
LX_MPOL_F_NODE, LX_MPOL_F_ADDR, LX_MPOL_F_MEMS_ALLOWED = 1, 2, 4
LX_MPOL_MF_STRICT, LX_MPOL_MF_MOVE, LX_MPOL_MF_MOVE_ALL = 1, 2, 4
_NODES = 1  # the mask of the nodes there are
_MAX_NODE = 4096 * 8
PAGE = 4096


def _get_nodes(lwp: Lwp, addr: int, maxnode: int) -> int:
    """Copy in a node mask of `maxnode` - 1 bits (get_nodes): EINVAL, EFAULT."""
    bits = maxnode - 1
    if not addr or bits <= 0:
        return 0
    if bits > _MAX_NODE:
        raise KernelError(Errno.EINVAL)
    word = lwp.brand.bits
    size = (bits + word - 1) // word * (word // 8)
    return int.from_bytes(lwp.as_.copyin(addr, size), "little") & (1 << bits) - 1


def _check_policy(mode: int, nodes: int) -> tuple[int, int]:
    """Return the policy that a call asks for: EINVAL for one that does not exist."""
    kind = mode & ~_MODE_FLAGS
    both = LX_MPOL_F_STATIC_NODES | LX_MPOL_F_RELATIVE_NODES
    if not 0 <= kind <= LX_MPOL_WEIGHTED_INTERLEAVE or mode & both == both:
        raise KernelError(Errno.EINVAL)
    if kind in (LX_MPOL_DEFAULT, LX_MPOL_LOCAL):
        if nodes:
            raise KernelError(Errno.EINVAL)
    elif not nodes & _NODES and (nodes or kind != LX_MPOL_PREFERRED):
        raise KernelError(Errno.EINVAL)
    return (mode, nodes & _NODES) if kind else (0, 0)


@syscall
def set_mempolicy(lwp: Lwp, mode: Int, nodemask: Ptr, maxnode: ULong) -> int:
    """Set the memory policy of the caller (set_mempolicy(2)): EINVAL, EFAULT."""
    lwp.mem_policy = _check_policy(mode, _get_nodes(lwp, nodemask, maxnode))
    return 0


@syscall
def get_mempolicy(
    lwp: Lwp, mode: Out[UInt], nodemask: Ptr, maxnode: ULong, addr: Ptr, flags: ULong
) -> int:
    """Return a memory policy, the node of a page, or the nodes there are (get_mempolicy(2)).

    EINVAL, EFAULT.
    """
    if flags & ~7 or (nodemask and maxnode < _NODES):
        raise KernelError(Errno.EINVAL)
    policy, nodes = lwp.mem_policy
    if flags & LX_MPOL_F_MEMS_ALLOWED:
        if flags & (LX_MPOL_F_NODE | LX_MPOL_F_ADDR):
            raise KernelError(Errno.EINVAL)
        policy, nodes = 0, _NODES
    elif flags & LX_MPOL_F_ADDR:
        lwp.as_.copyin(addr, 1)
        policy = 0
    elif addr or (flags & LX_MPOL_F_NODE and policy != LX_MPOL_INTERLEAVE):
        raise KernelError(Errno.EINVAL)
    mode.put_if(0 if flags & LX_MPOL_F_NODE else policy)
    if nodemask:
        word = lwp.brand.bits
        size = (maxnode - 1 + word - 1) // word * (word // 8) if maxnode > 1 else 0
        lwp.as_.copyout(nodemask, nodes.to_bytes(max(size, 8), "little")[:size])
    return 0


@syscall
def mbind(
    lwp: Lwp, addr: Ptr, length: Size, mode: Int, nodemask: Ptr, maxnode: ULong, flags: UInt
) -> int:
    """Set the memory policy of a range, which decides nothing here (mbind(2)): EINVAL, EFAULT."""
    movable = LX_MPOL_MF_STRICT | LX_MPOL_MF_MOVE | LX_MPOL_MF_MOVE_ALL
    if flags & ~movable or addr % PAGE:
        raise KernelError(Errno.EINVAL)
    _check_policy(mode, _get_nodes(lwp, nodemask, maxnode))
    end = addr + (length + PAGE - 1 & -PAGE)
    at = addr
    for seg in lwp.as_.maps():
        if seg.start > at or at >= end:
            break
        at = max(at, seg.end)
    if at < end:
        raise KernelError(Errno.EFAULT)
    return 0
