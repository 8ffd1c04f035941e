"""Ids, semaphores and messages of System V IPC; the reference is Linux (ipc/*.c)."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lxemu.kernel.cred import Cred
from lxemu.kernel.errno import Errno, Interrupted, KernelError
from lxemu.kernel.ipc.ipc import IPC_CREAT, IPC_EXCL, IPC_NOWAIT, IpcService, Kipc
from lxemu.kernel.ipc.msg import MSG_COPY, MSG_EXCEPT, MSG_NOERROR, Msg
from lxemu.kernel.ipc.sem import SEM_UNDO, SEMVMX, SemOp
from lxemu.kernel.signal import SIGKILL, SIGUSR1, SigAction, SigInfo

ROOT = Cred()
USER = Cred.for_user(1000, 1000)
QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NOWAIT = IPC_NOWAIT


def refused(call, *args, **named):
    with pytest.raises(KernelError) as caught:
        call(*args, **named)
    return caught.value.errno


# -- ids ------------------------------------------------------------------------------------------


def service(limit=8):
    return IpcService(None, lambda: limit)


def make(table, key=0, flags=IPC_CREAT | 0o600, cred=ROOT):
    return table.get(key, flags, cred, lambda: Kipc(key, flags, cred), lambda _obj: None)


def test_ids_count_up_and_a_slot_that_is_used_again_has_another_id():
    table = service()
    ids = [make(table).id for _ in range(3)]
    table.remove(table.lookup(ids[0]))
    assert ids == [0, 1, 2]
    for _ in range(5):
        make(table)
    assert make(table).id == 1 << 15
    assert refused(table.lookup, ids[0]) is Errno.EINVAL


@QUICK
@given(st.lists(st.integers(0, 9), max_size=40))
def test_an_id_is_never_given_twice_and_only_living_ones_are_found(steps):
    table, living, seen = service(6), [], set()
    for step in steps:
        if step < 6:
            if len(living) == 6:
                assert refused(make, table) is Errno.ENOSPC
                continue
            obj = make(table)
            assert obj.id not in seen
            seen.add(obj.id)
            living.append(obj)
        elif living:
            table.remove(living.pop(step % len(living)))
    assert list(table) == sorted(living, key=lambda obj: obj.id & 0x7FFF)
    assert all(table.lookup(obj.id) is obj for obj in living)
    for dead in seen - {obj.id for obj in living}:
        assert refused(table.lookup, dead) is Errno.EINVAL


def test_the_next_id_can_be_chosen_once():
    table = service()
    table.next_id = 3 << 15 | 5
    assert make(table).id == 3 << 15 | 5
    assert make(table).id == 0


def test_keys():
    table = service()
    assert refused(make, table, 7, 0) is Errno.ENOENT
    first = make(table, 7)
    assert make(table, 7, 0) is first
    assert refused(make, table, 7, IPC_CREAT | IPC_EXCL) is Errno.EEXIST
    table.hide(first)
    assert make(table, 7) is not first
    assert table.lookup(first.id) is first


@pytest.mark.parametrize(
    ("mode", "want", "groups", "allowed"),
    [
        (0o604, 0o004, (), True),
        (0o600, 0o004, (), False),
        (0o640, 0o444, (5,), True),
        (0o604, 0o444, (5,), False),
        (0o666, 0o222, (), True),
        (0o000, 0o000, (), True),
    ],
)
def test_access_by_class(mode, want, groups, allowed):
    obj = Kipc(1, mode, ROOT)
    obj.gid = 5
    cred = Cred.for_user(1000, 1000, groups)
    if allowed:
        obj.access(want, cred)
    else:
        assert refused(obj.access, want, cred) is Errno.EACCES
    obj.access(0o777, ROOT)


def test_only_owner_creator_and_privilege_may_change():
    obj = Kipc(1, 0o666, USER)
    obj.own(USER)
    obj.own(ROOT)
    assert refused(obj.own, Cred.for_user(1001, 1000)) is Errno.EPERM
    obj.set_owner(1001, 1, 0o7777)
    assert obj.mode == 0o777
    obj.own(Cred.for_user(1001, 1000))
    obj.own(USER)
    assert refused(obj.set_owner, 0xFFFFFFFF, 0, 0) is Errno.EINVAL


# -- semaphores -----------------------------------------------------------------------------------


def new_set(space, machine, *values):
    ident = space.sem.semget(machine.init, 0, len(values), IPC_CREAT | 0o600)
    found = space.sem.lookup(ident)
    found.values[:] = values
    return ident, found


OPS = st.lists(
    st.builds(
        SemOp, st.integers(0, 2), st.integers(-3, 3), st.sampled_from([NOWAIT, NOWAIT | SEM_UNDO])
    ),
    min_size=1,
    max_size=5,
)


@QUICK
@given(st.lists(OPS, max_size=12))
def test_operations_are_done_all_or_none(rounds):
    from tests.unit.kernel.fakes import FakeMachine

    machine = FakeMachine()
    from lxemu.kernel.ipc.space import ipc_space

    ident, found = new_set(space := ipc_space(machine.init), machine, 1, 0, 2)
    model, adjust = [1, 0, 2], [0, 0, 0]
    for ops in rounds:
        want, undo = list(model), list(adjust)
        fits = True
        for op in ops:
            if want[op.num] + op.op < 0 or (op.op == 0 and want[op.num]):
                fits = False
                break
            want[op.num] += op.op
            if op.flags & SEM_UNDO:
                undo[op.num] -= op.op
        if fits:
            space.sem.semop(machine.init, ident, ops, None)
            model, adjust = want, undo
        else:
            assert refused(space.sem.semop, machine.init, ident, ops, None) is Errno.EAGAIN
        assert found.values == model
    if machine.init.semundo is not None:
        machine.init.semundo.exit(machine.init)
        for num, change in enumerate(adjust):
            model[num] = min(max(model[num] + change, 0), SEMVMX)
    assert found.values == model


def test_sleepers_are_served_in_order_and_together(machine, space):
    ident, found = new_set(space, machine, 0)
    log = []

    def taker(name, count):
        def body(lwp):
            space.sem.semop(lwp.proc, ident, [SemOp(0, -count, 0)], None)
            log.append(name)

        return body

    machine.spawn(taker("big", 3))
    machine.spawn(taker("small", 1))
    machine.spawn(taker("last", 1))

    def giver(lwp):
        assert found.waiting(0, zero=False) == 3
        space.sem.semop(lwp.proc, ident, [SemOp(0, 2, 0)], None)
        assert found.values == [0]
        space.sem.semop(lwp.proc, ident, [SemOp(0, 3, 0)], None)

    machine.spawn(giver)
    machine.run()
    assert log == ["small", "last", "big"]


def test_a_sleeper_that_dies_leaves_the_queue(machine, space):
    ident, found = new_set(space, machine, 0)

    def sleeper(lwp):
        try:
            space.sem.semop(lwp.proc, ident, [SemOp(0, -1, 0)], None)
        except Interrupted:
            machine.ast(lwp)

    victim = machine.spawn(sleeper)
    machine.spawn(lambda _lwp: machine.sigtoproc(victim.proc, SIGKILL, SigInfo(SIGKILL)))
    machine.run()
    assert found.queue == []


def test_removal_ends_the_sleep(machine, space):
    ident, _ = new_set(space, machine, 0)
    log = []

    def sleeper(lwp):
        log.append(refused(space.sem.semop, lwp.proc, ident, [SemOp(0, -1, 0)], None))

    machine.spawn(sleeper)
    machine.spawn(lambda lwp: space.sem.rmid(lwp.proc, ident))
    machine.run()
    assert log == [Errno.EIDRM]
    assert space.sem.used == 0


# -- messages -------------------------------------------------------------------------------------


@QUICK
@given(
    st.lists(st.integers(1, 4), max_size=8),
    st.lists(st.tuples(st.integers(-4, 5), st.booleans()), max_size=10),
)
def test_messages_are_chosen_as_msgrcv_says(types, wanted):
    from lxemu.kernel.ipc.space import ipc_space
    from tests.unit.kernel.fakes import FakeMachine

    machine = FakeMachine()
    msg = ipc_space(machine.init).msg
    ident = msg.msgget(machine.init, 0, IPC_CREAT | 0o600)
    model = [Msg(mtype, b"%d" % at) for at, mtype in enumerate(types)]
    for one in model:
        msg.msgsnd(machine.init, ident, one, NOWAIT)
    for mtype, other in wanted:
        flags = NOWAIT | (MSG_EXCEPT if other else 0)
        if mtype > 0 and other:
            fits = [m for m in model if m.type != mtype]
        elif mtype > 0:
            fits = [m for m in model if m.type == mtype]
        elif mtype < 0:
            fits = sorted((m for m in model if m.type <= -mtype), key=lambda m: m.type)
        else:
            fits = list(model)
        if not fits:
            assert refused(msg.msgrcv, machine.init, ident, 9, mtype, flags) is Errno.ENOMSG
            continue
        assert msg.msgrcv(machine.init, ident, 9, mtype, flags) == fits[0]
        model.remove(fits[0])
    queue = msg.lookup(ident)
    assert queue.messages == model
    assert queue.cbytes == sum(len(m.text) for m in model)


def test_a_copy_leaves_the_message_and_a_long_one_is_refused(machine, space):
    msg = space.msg
    ident = msg.msgget(machine.init, 0, IPC_CREAT | 0o600)
    msg.msgsnd(machine.init, ident, Msg(1, b"longer"), 0)
    assert msg.msgrcv(machine.init, ident, 9, 0, MSG_COPY | NOWAIT).text == b"longer"
    assert refused(msg.msgrcv, machine.init, ident, 2, 0, NOWAIT) is Errno.E2BIG
    assert msg.msgrcv(machine.init, ident, 2, 0, NOWAIT | MSG_NOERROR).text == b"longer"


def test_a_sender_waits_for_room_and_a_signal_ends_that(machine, space):
    msg = space.msg
    ident = msg.msgget(machine.init, 0, IPC_CREAT | 0o600)
    msg.lookup(ident).qbytes = 4
    log = []

    def sender(lwp):
        lwp.proc.sigacts[SIGUSR1] = SigAction(0x1000)
        msg.msgsnd(lwp.proc, ident, Msg(1, b"1234"), 0)
        try:
            msg.msgsnd(lwp.proc, ident, Msg(2, b"5"), 0)
        except Interrupted:
            log.append("interrupted")

    lwp = machine.spawn(sender)
    machine.spawn(lambda _lwp: machine.sigtolwp(lwp, SIGUSR1, SigInfo(SIGUSR1)))
    machine.run()
    assert log == ["interrupted"]


# -- shared memory --------------------------------------------------------------------------------


def test_limits_of_shared_memory(machine, space):
    shm = space.shm
    shm.shmmax, shm.shmall, shm.shmmni = 8192, 3, 3

    def get(size):
        return shm.shmget(machine.init, 0, size, IPC_CREAT | 0o600)

    assert refused(get, 8193) is Errno.EINVAL
    assert refused(get, 0) is Errno.EINVAL
    first = get(8192)
    assert refused(get, 4097) is Errno.ENOSPC
    get(1)
    assert shm.total == 3
    shm.rmid(machine.init, first)
    assert shm.total == 1
    get(1)
    get(1)
    shm.shmall = 99
    assert refused(get, 1) is Errno.ENOSPC
    assert refused(shm.shmget, machine.init, 0, 1, 0o600, huge=True) is Errno.ENOMEM
