"""Sleep queues of user words against a model: who is woken, moved, or given a mutex."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.futex import UPIMutex, UWaiter, UWaitQueues

KEYS = "abc"


def lwp(priority: int = 0) -> SimpleNamespace:
    return SimpleNamespace(sched_priority=priority)


class Model:
    """Lists of waiters by key, in the order in which they are to be woken."""

    def __init__(self) -> None:
        self.queues = {key: [] for key in KEYS}

    def enter(self, key, waiter) -> None:
        queue = self.queues[key]
        after = [i for i, other in enumerate(queue) if other.rank > waiter.rank]
        queue.insert(after[0] if after else len(queue), waiter)

    def wake(self, key, count, bits):
        woken = [w for w in self.queues[key] if w.bits & bits][:count]
        self.queues[key] = [w for w in self.queues[key] if w not in woken]
        return woken

    def requeue(self, key, wake, move, target):
        queue = self.queues[key]
        woken, moved = queue[:wake], queue[wake : wake + move]
        if target == key:
            self.queues[key] = queue[wake:]
        else:
            self.queues[key] = queue[wake + move :]
            for waiter in moved:
                self.enter(target, waiter)
        return woken, len(woken) + len(moved)


OPERATION = st.one_of(
    st.tuples(
        st.just("wait"), st.sampled_from(KEYS), st.integers(1, 7), st.sampled_from([0, 0, 5, 9])
    ),
    st.tuples(st.just("wake"), st.sampled_from(KEYS), st.integers(0, 4), st.integers(1, 7)),
    st.tuples(
        st.just("requeue"),
        st.sampled_from(KEYS),
        st.integers(0, 3),
        st.integers(0, 4),
        st.sampled_from(KEYS),
    ),
    st.tuples(st.just("leave"), st.integers(0, 20)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(OPERATION, max_size=40))
def test_queues_are_those_of_the_model(operations):
    queues, model, everybody = UWaitQueues(), Model(), []
    for name, *args in operations:
        if name == "wait":
            key, bits, priority = args
            waiter = UWaiter(lwp(priority), key, bits)
            everybody.append(waiter)
            queues.enter(waiter)
            model.enter(key, waiter)
        elif name == "wake":
            key, count, bits = args
            expected = model.wake(key, count, bits)
            assert queues.wake(key, count, bits) == len(expected)
            assert all(waiter.woken for waiter in expected)
        elif name == "requeue":
            key, wake, move, target = args
            expected, total = model.requeue(key, wake, move, target)
            assert queues.requeue(key, wake, move, target) == total
            assert all(waiter.woken for waiter in expected)
        elif everybody:
            waiter = everybody[args[0] % len(everybody)]
            queues._leave(waiter)
            for queue in model.queues.values():
                if waiter in queue:
                    queue.remove(waiter)
        for key in KEYS:
            assert queues.waiters(key) == model.queues[key]
            assert queues.top(key) is (model.queues[key] or [None])[0]
    assert set(queues.queues) == {key for key in KEYS if model.queues[key]}


def blocked(queues, mutex, who, key="m"):
    waiter = UWaiter(who, key)
    queues.block(waiter, mutex)
    queues.enter(waiter)
    return waiter


def test_a_mutex_goes_to_its_waiters_by_priority_and_then_by_age():
    queues, owner = UWaitQueues(), lwp()
    mutex = UPIMutex(owner)
    one, two, first = (blocked(queues, mutex, lwp(p)) for p in (0, 0, 7))
    given = []
    while mutex.waiters:
        assert queues.heir(mutex) is mutex.waiters[0]
        given.append(queues.pass_on(mutex))
        assert mutex.owner is given[-1].lwp

    assert given == [first, one, two]
    assert queues.mutexes == {}
    assert queues.queues == {}


def test_who_closes_a_circle_is_refused_and_not_queued():
    queues = UWaitQueues()
    a, b, c = lwp(), lwp(), lwp()
    of_a, of_b, of_c = UPIMutex(a), UPIMutex(b), UPIMutex(c)
    blocked(queues, of_b, a)
    blocked(queues, of_c, b)
    with pytest.raises(KernelError) as caught:
        blocked(queues, of_a, c)

    assert caught.value.errno is Errno.EDEADLK
    assert of_a.waiters == []
    assert of_a not in queues.mutexes


@pytest.mark.parametrize("kind", ["mutex", "target"])
def test_who_waits_for_a_mutex_is_not_woken_or_moved_like_others(kind):
    queues = UWaitQueues()
    plain, special = UWaiter(lwp(), "a"), UWaiter(lwp(), "a")
    if kind == "mutex":
        special.mutex = UPIMutex(lwp())
    else:
        special.target = "b"
    for waiter in (plain, special):
        queues.enter(waiter)

    with pytest.raises(KernelError) as caught:
        queues.wake("a", 2)
    assert caught.value.errno is Errno.EINVAL
    assert (plain.woken, special.woken) == (True, False)
    with pytest.raises(KernelError):
        queues.requeue("a", 0, 1, "b")
    assert queues.waiters("a") == [special]


def test_what_an_ended_lwp_owned_is_found():
    queues, owner, other = UWaitQueues(), lwp(), lwp()
    mine, its = UPIMutex(owner), UPIMutex(other)
    blocked(queues, mine, lwp())
    waiter = blocked(queues, its, lwp())

    assert queues.owned(owner) == [mine]
    queues._leave(waiter)
    assert queues.owned(other) == []
