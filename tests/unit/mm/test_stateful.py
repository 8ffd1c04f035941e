"""Random histories of several address spaces against a model of pages.

Guest accesses go through a translation buffer that forgets only when told to, so a missing flush
shows as a wrong value. After every history all frames must be free again.
"""

from __future__ import annotations

import gc
import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.as_ import FC_NOMAP, FC_OBJERR, FC_PROT, As, SegFault
from lxemu.kernel.mm.mman import (
    MADV_PURGE,
    MAP_ANON,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    MS_SYNC,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    REMAP_FIXED,
    REMAP_MAYMOVE,
)
from lxemu.kernel.mm.page import PhysMem

from .machine import BASE, ClusterFile, Cpu, File, Object, P, audit

START = BASE + 508 * P  # the region crosses from one leaf table to the next
PAGES = 8
OBJECT_PAGES = 6

page = st.integers(0, PAGES - 1)
length = st.integers(1, 4)
prot = st.sampled_from([0, 1, 3, 3, 3, 5, 7])
value = st.integers(1, 255)
which = st.integers(0, 5)


@dataclass
class Thing:
    """Model of an object: one value per page, and its length in pages."""

    vnode: object
    values: list[int]

    def get(self, index: int) -> int | None:
        return self.values[index] if index < len(self.values) else None


@dataclass
class Page:
    """Model of a mapped page; own is the value of a private copy."""

    prot: int
    shared: bool
    thing: Thing | None
    index: int
    own: int | None

    def read(self) -> int | None:
        """Return the value, None beyond the end of the object."""
        if self.own is not None:
            return self.own
        return 0 if self.thing is None else self.thing.get(self.index)

    def write(self, byte: int) -> None:
        if self.shared:
            assert self.thing is not None
            self.thing.values[self.index] = byte
        else:
            self.own = byte


class Space:
    def __init__(self, as_: As, pages: dict[int, Page]) -> None:
        self.as_ = as_
        self.pages = pages

    def verdict(self, i: int, access: int) -> int:
        """Return the fault code that an access must give, 0 for none."""
        there = self.pages.get(i)
        if there is None:
            return FC_NOMAP
        if not (there.prot & access if access != PROT_READ else there.prot):
            return FC_PROT
        return 0 if there.read() is not None else FC_OBJERR


def outcome(call, *args) -> Errno | int:
    """Make a call; return 0, its errno, or the code of its fault."""
    try:
        call(*args)
    except KernelError as err:
        return err.errno
    except SegFault as fault:
        return fault.code
    return 0


class Spaces(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.phys = PhysMem(16 << 20)
        self.before = self.phys.free_frames
        self.cpu = Cpu(self.phys)
        zeroes = bytes(OBJECT_PAGES * P)
        self.things = [
            Thing(vnode, [0] * OBJECT_PAGES)
            for vnode in (
                Object(self.phys, len(zeroes)),
                File(self.phys, zeroes),
                ClusterFile(self.phys, zeroes),
            )
        ]
        self.spaces = [Space(As(self.phys), {})]
        self.hand = (0, 0)

    def space(self, n: int) -> Space:
        return self.spaces[n % len(self.spaces)]

    # -- calls ---------------------------------------------------------------------------------

    @rule(n=which, i=page, count=length, prot=prot, shared=st.booleans())
    def map_anon(self, n, i, count, prot, shared):
        space = self.space(n)
        flags = MAP_ANON | MAP_FIXED | (MAP_SHARED if shared else MAP_PRIVATE)
        space.as_.map(START + i * P, count * P, prot, flags)
        thing = Thing(None, [0] * count) if shared else None
        for k in range(count):
            space.pages[i + k] = Page(prot, shared, thing, k, None if shared else 0)

    @rule(n=which, i=page, count=length, prot=prot, shared=st.booleans(), t=which, at=which)
    def map_object(self, n, i, count, prot, shared, t, at):
        space = self.space(n)
        thing = self.things[t % len(self.things)]
        flags = MAP_FIXED | (MAP_SHARED if shared else MAP_PRIVATE)
        space.as_.map(START + i * P, count * P, prot, flags, thing.vnode, at * P)
        for k in range(count):
            space.pages[i + k] = Page(prot, shared, thing, at + k, None)

    @rule(n=which, i=page, count=length)
    def unmap(self, n, i, count):
        space = self.space(n)
        space.as_.unmap(START + i * P, count * P)
        for k in range(i, i + count):
            space.pages.pop(k, None)

    @rule(n=which, i=page, count=length, prot=prot)
    def setprot(self, n, i, count, prot):
        space = self.space(n)
        hole = any(k not in space.pages for k in range(i, i + count))
        assert outcome(space.as_.setprot, START + i * P, count * P, prot) == hole * Errno.ENOMEM
        for k in range(i, i + count):
            if k not in space.pages:
                break
            space.pages[k].prot = prot

    @rule(n=which, i=page, count=length, to=page)
    def remap(self, n, i, count, to):
        space = self.space(n)
        flags = REMAP_MAYMOVE | REMAP_FIXED
        size = count * P
        got = outcome(space.as_.remap, START + i * P, size, size, flags, START + to * P)
        if abs(i - to) < count:
            assert got == Errno.EINVAL
            return
        if i not in space.pages:
            assert got == Errno.EFAULT
            return
        assert got == 0
        moved = {k: space.pages.pop(k) for k in range(i, i + count) if k in space.pages}
        space.pages.update({k - i + to: there for k, there in moved.items()})

    @rule(n=which, i=page, count=length)
    def purge(self, n, i, count):
        space = self.space(n)
        hole = any(k not in space.pages for k in range(i, i + count))
        got = outcome(space.as_.advise, START + i * P, count * P, MADV_PURGE)
        assert got == hole * Errno.ENOMEM
        for k in range(i, i + count):
            there = space.pages.get(k)
            if there is not None and not there.shared:
                there.own = 0 if there.thing is None else None

    @rule(n=which)
    @precondition(lambda self: len(self.spaces) < 3)
    def fork(self, n):
        space = self.space(n)
        pages = {i: replace(there) for i, there in space.pages.items()}
        self.spaces.append(Space(space.as_.dup(), pages))

    @rule(n=which)
    @precondition(lambda self: len(self.spaces) > 1)
    def leave(self, n):
        space = self.space(n)
        space.as_.free()
        self.spaces.remove(space)

    @rule(n=which)
    def write_back(self, n):
        space = self.space(n)
        hole = any(k not in space.pages for k in range(PAGES))
        got = outcome(space.as_.sync, START, PAGES * P, MS_SYNC)
        assert got == hole * Errno.ENOMEM

    # -- the objects, from the side of a file system -------------------------------------------

    @rule(t=which, size=st.integers(0, OBJECT_PAGES))
    def truncate(self, t, size):
        thing = self.things[t % len(self.things)]
        vnode = thing.vnode
        if isinstance(vnode, File):
            vnode.data[size * P :] = bytes(max(size * P - len(vnode.data), 0))
        vnode.pages.truncate(size * P)
        thing.values = (thing.values + [0] * OBJECT_PAGES)[:size]
        for space in self.spaces:
            for there in space.pages.values():
                if there.thing is thing and there.index >= size:
                    there.own = None

    @rule(t=which, at=which, byte=value)
    def write_object(self, t, at, byte):
        thing = self.things[t % len(self.things)]
        vnode = thing.vnode
        if at < len(thing.values):
            if isinstance(vnode, File):
                vnode.data[at * P] = byte
                vnode.pages.update(at * P, bytes((byte,)))
            else:
                vnode.pages.write(at * P, bytes((byte,)))
            thing.values[at] = byte

    @rule(t=which, at=which)
    def read_object(self, t, at):
        thing = self.things[t % len(self.things)]
        cache = thing.vnode.pages
        expected = thing.get(at)
        got = cache.read(at * P, 1)
        assert got == (b"" if expected is None else bytes((expected,)))

    @rule()
    def reclaim(self):
        self.phys.reclaim(1000)

    # -- accesses ------------------------------------------------------------------------------

    @rule(n=which, i=page, access=st.sampled_from([PROT_READ, PROT_WRITE, PROT_EXEC]), byte=value)
    def guest_access(self, n, i, access, byte):
        space = self.space(n)
        code = space.verdict(i, access)
        if code:
            assert outcome(self.cpu.access, space.as_, START + i * P, access, byte) == code
            return
        got = self.cpu.access(space.as_, START + i * P, access, byte)
        if access == PROT_WRITE:
            space.pages[i].write(byte)
        else:
            assert got == space.pages[i].read()

    @rule(n=which, i=page)
    def guest_store_not_retried(self, n, i):
        space = self.space(n)
        self.cpu.switch(space.as_)
        code = space.verdict(i, PROT_WRITE)
        assert outcome(space.as_.fault, START + i * P, PROT_WRITE) == code
        if not code and not space.pages[i].shared:
            space.pages[i].own = space.pages[i].read()

    @rule(n=which, i=page, byte=value)
    def kernel_store(self, n, i, byte):
        space = self.space(n)
        code = space.verdict(i, PROT_WRITE)
        got = outcome(space.as_.copyout, START + i * P, bytes((byte,)))
        assert got == (Errno.EFAULT if code else 0)
        if not code:
            space.pages[i].write(byte)

    @rule(n=which)
    def look_at_everything(self, n):
        space = self.space(n)
        for i in range(PAGES):
            code = space.verdict(i, PROT_READ)
            try:
                got = space.as_.load_u8(START + i * P)
            except KernelError:
                assert code
            else:
                assert code == 0
                assert got == space.pages[i].read()

    # -- the books -----------------------------------------------------------------------------

    @invariant()
    def segments_cover_the_model(self):
        for space in self.spaces:
            seen = {}
            for seg in space.as_.maps():
                for va in range(seg.start, seg.end, P):
                    seen[(va - START) // P] = seg.prot
            assert seen == {i: there.prot for i, there in space.pages.items()}

    @rule()
    def recount(self):
        caches = {thing.vnode.pages for thing in self.things}
        for space in self.spaces:
            caches.update(seg.cache for seg in space.as_.segs if seg.cache is not None)
        audit(self.phys, [space.as_ for space in self.spaces], list(caches))

    @rule(n=which, i=page, byte=value, who=st.integers(0, 2))
    def fork_and_store(self, n, i, byte, who):
        """Do in one step what takes many otherwise: a store that is not retried, then another's."""
        if len(self.spaces) < 3:
            self.fork(n)
        self.guest_access(n, i, PROT_READ, 0)
        self.guest_store_not_retried(n, i)
        there = self.space(n).pages.get(i)
        if who < 2:
            self.kernel_store(n + who, i, byte)
        elif there is not None and there.thing in self.things:
            self.write_object(self.things.index(there.thing), there.index, byte)
        self.guest_access(n, i, PROT_READ, 0)

    def teardown(self):
        self.recount()
        for space in self.spaces:
            space.as_.free()
        for thing in self.things:
            if isinstance(thing.vnode, File):
                assert list(thing.vnode.data[::P]) == thing.values
            thing.vnode.pages.free()
        self.spaces.clear()
        gc.collect()
        assert self.phys.free_frames == self.before


def random_step(spaces: Spaces, rnd: random.Random) -> None:
    """Take one step: mostly accesses, and mostly in the space that is live and at the page at hand.

    Only so does the translation buffer live long enough to be wrong.
    """
    if rnd.random() < 0.1:
        spaces.hand = (rnd.randrange(6), rnd.randrange(PAGES))
    n, i = spaces.hand
    if rnd.random() < 0.3:
        i = rnd.randrange(PAGES)
    t, at, byte = (rnd.randrange(k) for k in (6, 6, 256))
    count, prot, shared = rnd.randint(1, 4), rnd.choice((0, 1, 3, 3, 3, 5, 7)), rnd.random() < 0.4
    access = rnd.choice((PROT_READ, PROT_WRITE, PROT_EXEC))
    steps = [
        *[lambda: spaces.guest_access(n, i, access, byte)] * 8,
        *[lambda: spaces.guest_store_not_retried(n, i)] * 3,
        *[lambda: spaces.kernel_store(n, i, byte)] * 3,
        *[lambda: spaces.kernel_store(n + 1, i, byte)] * 2,
        lambda: spaces.map_anon(n, i, count, prot, shared),
        lambda: spaces.map_object(n, i, count, prot, shared, t, at),
        lambda: spaces.unmap(n, i, count),
        *[lambda: spaces.setprot(n, i, count, prot)] * 2,
        lambda: spaces.remap(n, i, count, rnd.randrange(PAGES)),
        lambda: spaces.purge(n, i, count),
        lambda: spaces.write_back(n),
        lambda: spaces.truncate(t, rnd.randint(0, OBJECT_PAGES)),
        *[lambda: spaces.fork_and_store(n, i, byte, rnd.randrange(3))] * 2,
        *[lambda: spaces.write_object(t, at, byte)] * 2,
        lambda: spaces.read_object(t, at),
        lambda: spaces.reclaim(),
        lambda: spaces.look_at_everything(n),
        *[lambda: spaces.fork(n) if len(spaces.spaces) < 3 else spaces.leave(n + 1)] * 2,
    ]
    rnd.choice(steps)()
    spaces.segments_cover_the_model()


@pytest.mark.parametrize("seed", range(20))
def test_random_history(seed):
    rnd = random.Random(seed)
    spaces = Spaces()
    for step in range(600):
        random_step(spaces, rnd)
        if step % 20 == 0:
            spaces.recount()
    spaces.teardown()


TestSpaces = Spaces.TestCase
TestSpaces.settings = settings(
    max_examples=40,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
