"""System V semaphores (illumos os/sem.c; semget(2), semop(2), semctl(2)).

A semop that cannot be done waits in the queue of its set as a `_SemWait`; whoever changes a value
does the operations of the sleepers that have become possible, in their name, first those that
wait for zero, then in the order in which they came. Values so never show a half-done operation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, Interrupted, KernelError
from lxemu.kernel.ipc.ipc import IPC_NOWAIT, IPC_R, IPC_W, IpcService, Kipc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.proc import Proc

#: semop flag (sys/sem.h): give back at exit.
SEM_UNDO = 0o10000
#: Largest value of a semaphore and of an adjustment.
SEMVMX = SEMAEM = 32767


class SemOp(NamedTuple):
    """One operation: which semaphore of the set, what to add (0: wait for zero), flags."""

    num: int
    op: int
    flags: int


class SemUndo:
    """What processes that share it must give back when the last of them ends (sem_undo)."""

    __slots__ = ("adjust", "users")

    def __init__(self) -> None:
        self.users = 1
        #: Per set the adjustment of each of its semaphores.
        self.adjust: dict[SemSet, list[int]] = {}

    @staticmethod
    def share(old: Proc, new: Proc) -> None:
        """Have *new* share what *old* must give back (a clone that asks for it)."""
        if old.semundo is None:
            old.semundo = SemUndo()
        old.semundo.users += 1
        new.semundo = old.semundo

    def exit(self, proc: Proc) -> None:
        """Give back what was taken with SEM_UNDO, once the last process that shares it ends."""
        proc.semundo = None
        self.users -= 1
        if self.users:
            return
        now = int(proc.machine.clock.realtime()) // 1_000_000_000
        for found, adjust in self.adjust.items():
            found.undos.remove(self)
            for num, change in enumerate(adjust):
                if change:
                    found.values[num] = min(max(found.values[num] + change, 0), SEMVMX)
                    found.pids[num] = proc.pid
            found.update(now)
        self.adjust.clear()


class _SemWait:
    """A semop that waits: `error` None while it does, 0 when done, else why it never will be."""

    __slots__ = ("alters", "blocking", "cv", "done", "error", "ops", "pid", "undo")

    def __init__(self, ops: Sequence[SemOp], pid: int, undo: list[int] | None) -> None:
        self.ops = ops
        self.pid = pid
        self.undo = undo
        self.alters = any(op.op for op in ops)
        #: The operation that it waits at.
        self.blocking = ops[0]
        self.done = False
        self.error: Errno | None = None
        self.cv = CondVar()

    def finish(self, error: Errno | None) -> None:
        """Say how it went and wake the sleeper."""
        self.done = True
        self.error = error
        self.cv.signal()


class SemSet(Kipc):
    """A set of semaphores (ksemid_t): values, pids of the last operations, sleepers. Times in s."""

    __slots__ = ("ctime", "otime", "pids", "queue", "undos", "values")

    def __init__(self, key: int, mode: int, cred: Cred, nsems: int, now: int) -> None:
        super().__init__(key, mode, cred)
        self.values = [0] * nsems
        self.pids = [0] * nsems
        self.otime = 0
        self.ctime = now
        self.queue: list[_SemWait] = []
        self.undos: list[SemUndo] = []

    def attempt(self, wait: _SemWait) -> bool:
        """Do all operations or none; False when one would block (`blocking` says which).

        ERANGE when a value or an adjustment would leave its range.
        """
        values = self.values
        before = {op.num: values[op.num] for op in wait.ops}
        undone = list(wait.undo) if wait.undo is not None else None
        for op in wait.ops:
            result = values[op.num] + op.op
            fails = result < 0 if op.op else result != 0
            if fails:
                wait.blocking = op
                self._restore(before)
                return False
            if undone is not None and op.flags & SEM_UNDO:
                undone[op.num] -= op.op
            if result > SEMVMX or (
                undone is not None and not -SEMAEM - 1 <= undone[op.num] <= SEMAEM
            ):
                self._restore(before)
                raise KernelError(Errno.ERANGE)
            values[op.num] = result
        for op in wait.ops:
            self.pids[op.num] = wait.pid
        if wait.undo is not None and undone is not None:
            wait.undo[:] = undone
        return True

    def _restore(self, before: dict[int, int]) -> None:
        for num, value in before.items():
            self.values[num] = value

    def update(self, now: int) -> None:
        """Do what has become possible for the sleepers."""
        progress = bool(self.queue)
        while progress:
            progress = self._pass(alters=False, now=now) or self._pass(alters=True, now=now)

    def _pass(self, *, alters: bool, now: int) -> bool:
        """Try the sleepers of one kind; stop after the first that changed something."""
        for wait in [w for w in self.queue if w.alters is alters]:
            try:
                if not self.attempt(wait):
                    continue
            except KernelError as error:
                self.queue.remove(wait)
                wait.finish(error.errno)
                continue
            self.queue.remove(wait)
            self.otime = now
            wait.finish(None)
            if alters:
                return True
        return False

    def waiting(self, num: int, *, zero: bool) -> int:
        """Count the sleepers that wait for semaphore *num* to become zero, or to increase."""
        return sum(1 for w in self.queue if w.blocking.num == num and (w.blocking.op == 0) is zero)

    def forget_undo(self, num: int | None = None) -> None:
        """Make the adjustments of one semaphore, or of all, zero."""
        for undo in self.undos:
            adjust = undo.adjust[self]
            for at in range(len(adjust)) if num is None else (num,):
                adjust[at] = 0


class SemService(IpcService[SemSet]):
    """All semaphores of a space.

    semmsl: semaphores of one set; semmns: of all; semopm: operations of one semop; semmni: sets.
    """

    def __init__(self, machine: Any) -> None:
        super().__init__(machine, lambda: self.semmni)
        self.semmsl = 32000
        self.semmns = 1024000000
        self.semopm = 500
        self.semmni = 32000
        #: How many semaphores there are in all sets.
        self.used = 0

    def semget(self, proc: Proc, key: int, nsems: int, flags: int) -> int:
        """Find or make a set; return its id. EINVAL, ENOENT, EEXIST, EACCES, ENOSPC."""
        cred = proc.cred
        if not 0 <= nsems <= self.semmsl:
            raise KernelError(Errno.EINVAL)

        def make() -> SemSet:
            if not nsems:
                raise KernelError(Errno.EINVAL)
            if self.used + nsems > self.semmns:
                raise KernelError(Errno.ENOSPC)
            return SemSet(key, flags, cred, nsems, self.now())

        def check(found: SemSet) -> None:
            if nsems > len(found.values):
                raise KernelError(Errno.EINVAL)

        before = len(self)
        found = self.get(key, flags, cred, make, check)
        if len(self) != before:
            self.used += nsems
        return found.id

    def semop(self, proc: Proc, ident: int, ops: Sequence[SemOp], deadline: int | None) -> None:
        """Do all operations at once, waiting until *deadline* (hrtime ns).

        EINVAL, EFBIG, EACCES, EAGAIN, ERANGE, EIDRM, Interrupted.
        """
        found = self.lookup(ident)
        if max(op.num for op in ops) >= len(found.values):
            raise KernelError(Errno.EFBIG)
        alters = any(op.op for op in ops)
        found.access(IPC_W if alters else IPC_R, proc.cred)
        undo = None
        if any(op.flags & SEM_UNDO for op in ops):
            undo = self._undo(proc, found)
        wait = _SemWait(ops, proc.pid, undo)
        if found.attempt(wait):
            found.otime = self.now()
            if alters:
                found.update(found.otime)
            return
        if wait.blocking.flags & IPC_NOWAIT:
            raise KernelError(Errno.EAGAIN)
        self._sleep(found, wait, deadline)

    @staticmethod
    def _sleep(found: SemSet, wait: _SemWait, deadline: int | None) -> None:
        found.queue.append(wait)
        try:
            while not wait.done:
                if not wait.cv.wait_sig_until(deadline) and not wait.done:
                    raise KernelError(Errno.EAGAIN)
        except Interrupted:
            if not wait.done:
                raise
        finally:
            if wait in found.queue:
                found.queue.remove(wait)
        if wait.error is not None:
            raise KernelError(wait.error)

    @staticmethod
    def _undo(proc: Proc, found: SemSet) -> list[int]:
        undo = proc.semundo
        if undo is None:
            undo = proc.semundo = SemUndo()
        adjust: list[int] | None = undo.adjust.get(found)
        if adjust is None:
            adjust = undo.adjust[found] = [0] * len(found.values)
            found.undos.append(undo)
        return adjust

    # -- semctl ----------------------------------------------------------------------------------

    def stat(self, proc: Proc, found: SemSet) -> SemSet:
        """Return a set that may be looked at. EACCES."""
        found.access(IPC_R, proc.cred)
        return found

    def one(self, proc: Proc, ident: int, num: int) -> SemSet:
        """Return a set to read semaphore *num* of. EINVAL, EACCES."""
        found = self.stat(proc, self.lookup(ident))
        if not 0 <= num < len(found.values):
            raise KernelError(Errno.EINVAL)
        return found

    def setval(self, proc: Proc, ident: int, num: int, value: int) -> None:
        """Set one value. ERANGE, EINVAL, EACCES."""
        if not 0 <= value <= SEMVMX:
            raise KernelError(Errno.ERANGE)
        found = self.lookup(ident)
        if not 0 <= num < len(found.values):
            raise KernelError(Errno.EINVAL)
        found.access(IPC_W, proc.cred)
        found.forget_undo(num)
        found.values[num] = value
        found.pids[num] = proc.pid
        self._changed(found)

    def setall(self, proc: Proc, found: SemSet, values: Sequence[int]) -> None:
        """Set every value; the caller has checked the access. ERANGE."""
        if max(values) > SEMVMX:
            raise KernelError(Errno.ERANGE)
        found.values[:] = values
        found.pids[:] = [proc.pid] * len(values)
        found.forget_undo()
        self._changed(found)

    def _changed(self, found: SemSet) -> None:
        found.ctime = self.now()
        found.update(found.ctime)

    def set(self, proc: Proc, ident: int, perm: tuple[int, int, int]) -> None:
        """Change owner, group and mode. semctl(2), IPC_SET. EINVAL, EPERM."""
        found = self.lookup(ident)
        found.own(proc.cred)
        found.set_owner(*perm)
        found.ctime = self.now()

    def rmid(self, proc: Proc, ident: int) -> None:
        """Remove a set; its sleepers get EIDRM. EINVAL, EPERM."""
        found = self.lookup(ident)
        found.own(proc.cred)
        self.remove(found)
        self.used -= len(found.values)
        for undo in found.undos:
            del undo.adjust[found]
        found.undos.clear()
        queue, found.queue = found.queue, []
        for wait in queue:
            wait.finish(Errno.EIDRM)
