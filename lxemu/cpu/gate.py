"""Exact pre-emption: ending a run of guest code at the entry of a block, and nowhere else.

`uc_emu_stop` from another thread is honoured in the middle of an instruction, which is then
executed again: a store may happen twice. A hook on blocks is called between instructions. It must
cost nothing while nobody wants to stop, so its bounds are such that it never matches, and a request
opens them. Unicorn tests the bounds at run time only when the list of block hooks has two entries;
the first is a hook that does nothing.
"""

from __future__ import annotations

import _thread
import contextlib
from ctypes import CFUNCTYPE
from functools import partial
from typing import TYPE_CHECKING

from lxemu.cpu import binding as uc
from lxemu.cpu import private, trap

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.cpu.engine import Engine

#: Period of the ticker (s), and how many periods pass between stops when nobody is known to wait.
TICK = 0.01
IDLE_TICKS = 10
#: Stops that a new program gets at the short period in any case, for its translation cache to grow.
FIRST_SLICES = 20


class Gate:
    """The way to stop a run from outside.

    exact: whether there is a gate. Without one a run ends only by itself, and lwps share the
    processor only when they trap.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = _thread.allocate_lock()
        self._stop = _thread.allocate_lock()
        self._done: _thread.LockType | None = None
        self._busy: Callable[[], bool] | None = None
        self.wanted = False
        b, lib = engine.binding, engine.binding.lib
        handle = engine.handle
        # What runs in the hook must not be Python code: the interpreter would run the handler of a
        # host signal in it, and an exception of the handler (KeyboardInterrupt) would be lost. Each
        # step of this zip calls two functions in turn without any.
        mark = partial(engine.kind.__setitem__, 0, trap.GATE)
        stop = partial(lib.uc_emu_stop, handle)
        self._callback = CFUNCTYPE(None)(
            zip(iter(mark, self), iter(stop, self), strict=False).__next__
        )
        b.hook(handle, uc.HOOK_BLOCK, lib.uc_errno, None, 1, 0)
        hook = b.hook(handle, uc.HOOK_BLOCK, self._callback, None, *private.PROBE)
        self._bounds = private.hook_bounds(hook)
        self.exact = self._bounds is not None

    def _shut(self) -> None:
        if self._bounds is not None:
            self._bounds[1], self._bounds[0] = private.CLOSED

    def open(self) -> None:
        """Ask for a stop at the next block entry; any thread may, and more than once."""
        with self._lock:
            self.wanted = True
            if self._bounds is not None:
                self._bounds[0], self._bounds[1] = private.OPEN

    def open_at(self, address: int) -> None:
        """Ask for a stop at the entry of the block at `address` only (tests, debuggers)."""
        with self._lock:
            self.wanted = True
            if self._bounds is not None:
                self._bounds[0] = self._bounds[1] = address

    def acknowledge(self) -> None:
        """Note that the stop has happened: the gate is closed until the next request."""
        with self._lock:
            self.wanted = False
            self._shut()

    def start(self, busy: Callable[[], bool]) -> None:
        """Start the ticker, which opens the gate regularly while `busy()` says that somebody waits.

        A run also ends now and then when nobody does: only then can Python run the handlers of
        signals that the host sent to this process. Does nothing the second time.
        """
        if self._busy is None and self.exact:
            self._busy = busy
            self._stop.acquire()
            self._done = _thread.allocate_lock()
            self._done.acquire()
            _thread.start_new_thread(self._tick, (busy, self._done))

    def _tick(self, busy: Callable[[], bool], done: _thread.LockType) -> None:
        idle = 0
        while not self._stop.acquire(timeout=TICK):
            idle += 1
            if idle >= IDLE_TICKS or self._engine.slices < FIRST_SLICES or busy():
                idle = 0
                self.open()
        done.release()

    def close(self) -> None:
        """End the ticker; the memory of the hooks may be freed afterwards."""
        if self._busy is not None and self._done is not None:
            with contextlib.suppress(RuntimeError):
                self._stop.release()
            self._done.acquire()
        with self._lock:
            self._bounds = None
