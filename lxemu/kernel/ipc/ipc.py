"""What the three System V facilities share: ids, keys, permissions (illumos os/ipc.c, sys/ipc.h).

An `IpcService` is the table of one facility. An id is a slot and a sequence number that changes
whenever the slot numbers start over, so that the id of an object that has gone is not soon valid
again. Slots are given out round-robin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lxemu.kernel.cred import PRIV_IPC_DAC_READ, PRIV_IPC_DAC_WRITE, PRIV_SYS_ADMIN
from lxemu.kernel.errno import Errno, KernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lxemu.kernel.cred import Cred

#: The key that is never found, and the largest number of objects of a facility.
IPC_PRIVATE = 0
IPC_MAX = 1 << 15
_SLOT_BITS = 15
_SEQ_MAX = 0x7FFFFFFF >> _SLOT_BITS
#: Slots are used in a cycle of at least this length.
_MIN_CYCLE = 64

# Flags of the get calls (sys/ipc.h); the low nine bits are the mode.
IPC_CREAT = 0o1000
IPC_EXCL = 0o2000
IPC_NOWAIT = 0o4000
IPC_MODE = 0o777
# Access wanted, for all three classes.
IPC_R = 0o444
IPC_W = 0o222


class Kipc:
    """An object with a key, an owner, a creator and a mode (kipc_perm_t).

    id: slot and sequence number, -1 before it is entered. gone: it was removed.
    """

    __slots__ = ("cgid", "cuid", "gid", "gone", "id", "key", "mode", "seq", "uid")

    def __init__(self, key: int, mode: int, cred: Cred) -> None:
        self.key = key
        self.mode = mode & IPC_MODE
        self.uid = self.cuid = cred.euid
        self.gid = self.cgid = cred.egid
        self.id = -1
        self.seq = 0
        self.gone = False

    def access(self, want: int, cred: Cred) -> None:
        """Check the access bits *want* (any of the three classes). EACCES (ipcperm_access)."""
        wanted = want >> 6 | want >> 3 | want
        have = self.mode
        if cred.euid in (self.cuid, self.uid):
            have >>= 6
        elif cred.groupmember(self.cgid) or cred.groupmember(self.gid):
            have >>= 3
        if wanted & ~have & 7:
            needed = PRIV_IPC_DAC_READ | PRIV_IPC_DAC_WRITE
            if cred.privs & needed != needed:
                raise KernelError(Errno.EACCES)

    def own(self, cred: Cred) -> None:
        """Check that *cred* is the owner's or creator's, or privileged. EPERM (secpolicy_ipc)."""
        if cred.euid not in (self.cuid, self.uid) and not cred.crhas(PRIV_SYS_ADMIN):
            raise KernelError(Errno.EPERM)

    def set_owner(self, uid: int, gid: int, mode: int) -> None:
        """Change owner and mode. EINVAL for an id that is none (ipcperm_set)."""
        if 0xFFFFFFFF in (uid, gid):
            raise KernelError(Errno.EINVAL)
        self.uid, self.gid = uid, gid
        self.mode = self.mode & ~IPC_MODE | mode & IPC_MODE


K = TypeVar("K", bound=Kipc)


class IpcService(Generic[K]):
    """The objects of one facility (ipc_service_t).

    limit: how many there may be (asked each time). next_id: the id that the next object is to get
    if that is free, -1 for none in particular.
    """

    def __init__(self, machine: Any, limit: Callable[[], int]) -> None:
        self.machine = machine
        self.limit = limit
        self.next_id = -1
        self._slots: dict[int, K] = {}
        self._keys: dict[int, K] = {}
        self._last = -1
        self._seq = 0

    def now(self) -> int:
        """Return the time that changes are noted with, s."""
        return int(self.machine.clock.realtime()) // 1_000_000_000

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[K]:
        """Yield the objects in order of their slots."""
        for slot in sorted(self._slots):
            yield self._slots[slot]

    @property
    def highest(self) -> int:
        """The highest slot in use, 0 when there is none."""
        return max(self._slots, default=0)

    def lookup(self, ident: int) -> K:
        """Return the object with an id. EINVAL (ipc_lookup)."""
        found = self._slots.get(ident & IPC_MAX - 1) if ident >= 0 else None
        if found is None or found.id != ident:
            raise KernelError(Errno.EINVAL)
        return found

    def at(self, slot: int) -> K:
        """Return the object in a slot. EINVAL."""
        found = self._slots.get(slot & IPC_MAX - 1) if slot >= 0 else None
        if found is None:
            raise KernelError(Errno.EINVAL)
        return found

    def get(
        self, key: int, flags: int, cred: Cred, make: Callable[[], K], check: Callable[[K], None]
    ) -> K:
        """Find the object of *key* or make one. ENOENT, EEXIST, EACCES, ENOSPC (ipc_get).

        check: looks whether an object that exists fits the request.
        """
        found = self._keys.get(key) if key != IPC_PRIVATE else None
        if found is None:
            if key != IPC_PRIVATE and not flags & IPC_CREAT:
                raise KernelError(Errno.ENOENT)
            return self._enter(make())
        if flags & IPC_CREAT and flags & IPC_EXCL:
            raise KernelError(Errno.EEXIST)
        check(found)
        found.access(flags & IPC_MODE, cred)
        return found

    def _enter(self, new: K) -> K:
        if len(self._slots) >= self.limit():
            raise KernelError(Errno.ENOSPC)
        if self.next_id >= 0:
            slot = self._free_from(self.next_id & IPC_MAX - 1, IPC_MAX, wrap=False)
            new.seq = self.next_id >> _SLOT_BITS & _SEQ_MAX
            self.next_id = -1
        else:
            cycle = max(len(self._slots) * 3 // 2, _MIN_CYCLE)
            slot = self._free_from(self._last + 1, min(cycle, self.limit()), wrap=True)
            if slot <= self._last:
                self._seq = (self._seq + 1) % _SEQ_MAX
            self._last = slot
            new.seq = self._seq
        new.id = new.seq << _SLOT_BITS | slot
        self._slots[slot] = new
        if new.key != IPC_PRIVATE:
            self._keys[new.key] = new
        return new

    def _free_from(self, first: int, end: int, *, wrap: bool) -> int:
        for slot in range(first, end):
            if slot not in self._slots:
                return slot
        for slot in range(min(first, end) if wrap else 0):
            if slot not in self._slots:
                return slot
        raise KernelError(Errno.ENOSPC)

    def hide(self, obj: K) -> None:
        """Make the key of an object free for another one; its id stays good."""
        if self._keys.get(obj.key) is obj:
            del self._keys[obj.key]
        obj.key = IPC_PRIVATE

    def remove(self, obj: K) -> None:
        """Forget an object (ipc_rmid)."""
        if self._keys.get(obj.key) is obj:
            del self._keys[obj.key]
        del self._slots[obj.id & IPC_MAX - 1]
        obj.gone = True
