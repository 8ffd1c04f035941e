"""The dispatcher: run queue, sleeping, callouts, host descriptors (illumos disp(), timeout(9F)).

Every lwp is a greenlet. The dispatcher itself lives in the greenlet that called `loop` (the hub);
an lwp that sleeps switches straight to the next runnable one. When nothing can run, one poll(2)
call on the host waits for the next callout or descriptor.
"""

from __future__ import annotations

import heapq
import select
import time
from collections import deque
from typing import TYPE_CHECKING

from greenlet import getcurrent, greenlet

from lxemu.kernel.cv import CondVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.clock import Clock
    from lxemu.kernel.lwp import Lwp

#: States of an lwp (sys/thread.h: TS_SLEEP, TS_RUN, TS_ONPROC, TS_ZOMB).
TS_SLEEP, TS_RUN, TS_ONPROC, TS_ZOMB = range(4)


#: What a quantum costs relative to one nice step less, and what a sleeper gets back at most.
NICE_COST = 1.25
SLEEPER_CREDIT = 8.0


def _charged(lwp: Lwp) -> float:
    return lwp.charged


class Callout:
    """A function to call at a time; `untimeout` clears it."""

    __slots__ = ("deadline", "func", "seq")

    def __init__(self, deadline: int, seq: int, func: Callable[[], None] | None) -> None:
        self.deadline = deadline
        self.seq = seq
        self.func = func

    def __lt__(self, other: Callout) -> bool:
        return (self.deadline, self.seq) < (other.deadline, other.seq)


class Dispatcher:
    """Scheduler of one machine.

    `switch_in` makes an lwp's user state live in the CPU; the machine sets it. `on_idle` is called
    before the host sleeps (flush output, run host signal handlers).
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.runq: deque[Lwp] = deque()
        self.curlwp: Lwp | None = None
        self.hub: greenlet = getcurrent()
        self.switch_in: Callable[[Lwp], None] = lambda _lwp: None
        self.switch_out: Callable[[Lwp], None] = lambda _lwp: None
        self.host_events: Callable[[], None] = lambda: None
        self.stopping = False
        self._callouts: list[Callout] = []
        self._seq = 0
        self._live_callouts = 0
        self._poll = select.poll()
        self._watches: dict[int, list[tuple[int, Callable[[int], object]]]] = {}

    # -- run queue ------------------------------------------------------------------------------

    def setrun(self, lwp: Lwp) -> None:
        """Make a sleeping `lwp` runnable; one that is not asleep is left alone."""
        if lwp.state == TS_SLEEP:
            lwp.state = TS_RUN
            lwp.wchan = None
            self.runq.append(lwp)

    def start(self, lwp: Lwp) -> None:
        """Put a new `lwp` on the run queue for the first time."""
        lwp.state = TS_RUN
        self.runq.append(lwp)

    def sleep(self, lwp: Lwp, wchan: CondVar, *, interruptible: bool) -> None:
        """Block the running `lwp` on `wchan` until `setrun`."""
        lwp.state = TS_SLEEP
        lwp.wchan = wchan
        lwp.sleep_sig = interruptible
        self.swtch(lwp)

    def yield_(self, lwp: Lwp) -> None:
        """Let other runnable lwps go first (sched_yield, end of a quantum)."""
        if self.runq:
            lwp.state = TS_RUN
            self.runq.append(lwp)
            self.swtch(lwp)

    def quantum_over(self, lwp: Lwp) -> None:
        """Charge a quantum to the running `lwp`, and let the one that has had least go on.

        A quantum counts for more the nicer an lwp is, so its share falls by about a quarter with
        each step. One that has slept long is not owed all that it has missed.
        """
        if not self.runq:
            return
        neediest = min(self.runq, key=_charged)
        least = neediest.charged
        lwp.charged = max(lwp.charged, least - SLEEPER_CREDIT) + NICE_COST**lwp.nice
        if lwp.charged >= least:
            self.runq.remove(neediest)
            self.runq.appendleft(neediest)
            self.yield_(lwp)

    def swtch(self, lwp: Lwp) -> None:
        """Give the processor away; returns when `lwp` runs again, its user state live."""
        self.switch_out(lwp)
        nxt = self._pick()
        if nxt is not lwp:
            target = self.hub
            if nxt is not None and nxt.greenlet:
                self.curlwp = nxt
                nxt.state = TS_ONPROC
                target = nxt.greenlet
            elif nxt is not None:
                # A context that starts counts its calls from the depth of its starter's, which
                # would add up from lwp to lwp: the hub starts them all.
                self.runq.appendleft(nxt)
            target.switch()
        self.curlwp = lwp
        lwp.state = TS_ONPROC
        self.switch_in(lwp)

    def loop(self) -> None:
        """Run lwps until none is left or `stopping` is set; called in the hub."""
        self.hub = getcurrent()
        while not self.stopping:
            nxt = self._pick()
            if nxt is None:
                return
            self.curlwp = nxt
            nxt.state = TS_ONPROC
            nxt.greenlet.switch()

    def _pick(self) -> Lwp | None:
        """Return the next lwp to run, sleeping on the host until there is one; None at the end."""
        while not self.stopping:
            self.host_events()
            if self._callouts:
                self.run_callouts()
            if self.runq:
                return self.runq.popleft()
            if self.stopping:
                break
            self._idle()
        return None

    # -- callouts -------------------------------------------------------------------------------

    def timeout(self, deadline: int, func: Callable[[], None]) -> Callout:
        """Call `func` from the dispatcher once hrtime reaches `deadline` (ns)."""
        self._seq += 1
        callout = Callout(deadline, self._seq, func)
        heapq.heappush(self._callouts, callout)
        self._live_callouts += 1
        return callout

    def untimeout(self, callout: Callout) -> None:
        """Cancel `callout`; harmless if it has run."""
        if callout.func is not None:
            callout.func = None
            self._live_callouts -= 1
            if len(self._callouts) > 64 and self._live_callouts * 4 < len(self._callouts):
                self._callouts = [c for c in self._callouts if c.func is not None]
                heapq.heapify(self._callouts)

    def run_callouts(self) -> None:
        """Run every callout that is due."""
        callouts = self._callouts
        while callouts and callouts[0].func is None:
            heapq.heappop(callouts)
        if not callouts:
            return
        now = self.clock.hrtime()
        while self._callouts and self._callouts[0].deadline <= now:
            callout = heapq.heappop(self._callouts)
            func = callout.func
            if func is not None:
                callout.func = None
                self._live_callouts -= 1
                func()

    def next_deadline(self) -> int | None:
        """Return the hrtime of the next live callout, or None."""
        callouts = self._callouts
        while callouts and callouts[0].func is None:
            heapq.heappop(callouts)
        return callouts[0].deadline if callouts else None

    # -- host descriptors -----------------------------------------------------------------------

    def watch(self, fd: int, events: int, func: Callable[[int], object]) -> None:
        """Call `func(revents)` whenever host descriptor `fd` shows one of `events` (poll bits)."""
        self._watches.setdefault(fd, []).append((events, func))
        self._register(fd)

    def unwatch(self, fd: int, func: Callable[[int], object]) -> None:
        """End the watch of `fd` by `func`."""
        left = [entry for entry in self._watches.get(fd, ()) if entry[1] != func]
        if left:
            self._watches[fd] = left
            self._register(fd)
        elif fd in self._watches:
            del self._watches[fd]
            self._poll.unregister(fd)

    def _register(self, fd: int) -> None:
        events = 0
        for wanted, _ in self._watches[fd]:
            events |= wanted & 7
        self._poll.register(fd, events)

    def wait_fd(self, fd: int, events: int) -> None:
        """Block the current lwp until `fd` is ready for `events`. Raises Interrupted."""
        ready = CondVar()

        def wake(_revents: int) -> None:
            ready.broadcast()

        self.watch(fd, events, wake)
        try:
            ready.wait_sig()
        finally:
            self.unwatch(fd, wake)

    def poll_host(self, timeout_ms: int | None) -> None:
        """Look at the watched descriptors, waiting at most `timeout_ms` (None: without end)."""
        for fd, revents in self._poll.poll(timeout_ms):
            for wanted, func in tuple(self._watches.get(fd, ())):
                if revents & (wanted | 0x38):
                    func(revents)

    def busy(self) -> bool:
        """Return whether a computing lwp should be stopped now and then to look around."""
        return bool(self.runq or self._live_callouts or self._watches)

    def _idle(self) -> None:
        wait = self.clock.idle(self.next_deadline())
        if wait is not None and wait < 1_000_000:
            # poll(2) counts in ms; the rest of a deadline is slept exactly.
            self.poll_host(0)
            if not self.runq:
                time.sleep(wait / 1e9)
            return
        self.poll_host(None if wait is None else wait // 1_000_000)
