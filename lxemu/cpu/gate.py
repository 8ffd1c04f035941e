"""Exact pre-emption: ending a run of guest code at the entry of a block, and nowhere else.

`uc_emu_stop` from another thread is honoured in the middle of an instruction, which is then
executed again: a store may happen twice. The library makes translated code look whether it is to
stop in two places, though: before a block, and after an access to memory. `Gate` has the second
left out (private.py, ExitWords), so that stops are exact, and guest code even gets faster.

Where those words are not known there is `HookGate`. A hook on blocks is called between
instructions. It must cost little while nobody wants to stop, so its bounds are such that it never
matches, and a request opens them. Unicorn tests the bounds at run time only when the list of block
hooks has two entries; the first is a hook that does nothing.
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
    from lxemu.cpu.private import ExitWords

#: Period of the ticker (s), and how many periods pass between stops when nobody is known to wait.
TICK = 0.01
IDLE_TICKS = 10
#: Stops that a new program gets at the short period in any case, for its translation cache to grow.
FIRST_SLICES = 20


class Ticker:
    """The thread that asks for stops, and the request itself.

    exact: whether there is a gate. Without one a run ends only by itself, and lwps share the
    processor only when they trap. wanted: whether a stop was asked for and has not happened yet.
    """

    exact = True

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = _thread.allocate_lock()
        self._stop = _thread.allocate_lock()
        self._done: _thread.LockType | None = None
        self._busy: Callable[[], bool] | None = None
        self.wanted = False

    def open(self) -> None:
        """Ask for a stop at the next block entry; any thread may, and more than once."""
        raise NotImplementedError

    def acknowledge(self) -> None:
        """Note that the stop has happened."""
        raise NotImplementedError

    def trapped(self) -> bool:
        """Return whether a run that ended because of the gate made a trap at the same time."""
        return False

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
            few = self._engine.slices < FIRST_SLICES
            if idle >= IDLE_TICKS or self.wanted or few or busy():
                idle = 0
                self.open()
        done.release()

    def close(self) -> None:
        """End the ticker; the engine may be freed afterwards."""
        if self._busy is not None and self._done is not None:
            with contextlib.suppress(RuntimeError):
                self._stop.release()
            self._done.acquire()


class Gate(Ticker):
    """The gate that the library's own words make: a run ends with private.GATE_ERROR.

    A request that comes while no guest code runs has no effect on the words; the lwp whose state is
    live looks at `wanted` before it goes back to user mode (`ast`), and the ticker asks again.
    """

    def __init__(self, engine: Engine, words: ExitWords) -> None:
        super().__init__(engine)
        self._words: ExitWords | None = words

    def open(self) -> None:
        """Ask for a stop; see `Ticker.open`."""
        with self._lock:
            words = self._words
            if words is None:
                return
            self.wanted = True
            owner = self._engine.owner
            if owner is not None:
                owner.ast = True
            words.ask()

    def acknowledge(self) -> None:
        """Note that the stop has happened."""
        self.wanted = False

    def trapped(self) -> bool:
        """Return whether a hook ended the run as well: the gate came a moment too late."""
        words = self._words
        return words is not None and bool(words.stopped.value)

    def close(self) -> None:
        """End the ticker and touch the words no more."""
        super().close()
        with self._lock:
            self._words = None


class HookGate(Ticker):
    """The gate of two hooks on blocks, which works with any version and costs some time."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
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
        """Ask for a stop; see `Ticker.open`."""
        with self._lock:
            self.wanted = True
            if self._bounds is not None:
                self._bounds[0], self._bounds[1] = private.OPEN

    def open_at(self, address: int) -> None:
        """Ask for a stop at the entry of the block at `address` only (tests)."""
        with self._lock:
            self.wanted = True
            if self._bounds is not None:
                self._bounds[0] = self._bounds[1] = address

    def acknowledge(self) -> None:
        """Note that the stop has happened: the gate is closed until the next request."""
        with self._lock:
            self.wanted = False
            self._shut()

    def close(self) -> None:
        """End the ticker; the memory of the hooks may be freed afterwards."""
        super().close()
        with self._lock:
            self._bounds = None
