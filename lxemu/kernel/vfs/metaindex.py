"""The index beside a host tree: owners, modes and devices that the host's files cannot have.

An unprivileged user of the host cannot own files as uid 0, or make devices and set-id programs.
What the guest asks for is written here instead, by the file's device and number, and shown to it
over what the host says; the host's own modes are kept such that its user can reach every file.

The index is a text file, a checked line for each change. Lines are only ever appended, each in one
write, so that after the end of the emulator at any instant all lines but perhaps the last are
whole; a torn last line is dropped. When it is opened and nobody else uses it, it is written anew
beside itself and put in its place. Several machines may share it: each sees what others append.

A file's number may be given to another file once the host has removed it. A record therefore holds
the time when its file was made, and is believed only if that agrees.
"""

from __future__ import annotations

import fcntl
import os
import time
import zlib
from typing import TYPE_CHECKING, NamedTuple

from lxemu.kernel.vfs.host import birth_time, host_error
from lxemu.kernel.vfs.vnode import IFTOVT, VBLK, VCHR, VDIR, VTTOIF

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = b"lxemu metadata index 1\n"
#: How long (ns) the index is believed to be all that others have appended.
_FRESH = 1_000_000
#: Bits that the host's mode of a file always has, so that its user can reach it.
_REACH_FILE, _REACH_DIR = 0o600, 0o700
_HOST_BITS = 0o777

Key = tuple[int, int]


class Meta(NamedTuple):
    """What the guest is shown of a file: type (VREG, VCHR, ...), mode, owner, device, attributes.

    `born` is the host's birth time of the file in ns, 0 where the host does not tell.
    """

    born: int
    type: int
    mode: int
    uid: int
    gid: int
    rdev: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


class HostStat:
    """The host's attributes of a file with those of the index put over them."""

    __slots__ = (
        "st_atime_ns",
        "st_blksize",
        "st_blocks",
        "st_ctime_ns",
        "st_dev",
        "st_gid",
        "st_ino",
        "st_mode",
        "st_mtime_ns",
        "st_nlink",
        "st_rdev",
        "st_size",
        "st_uid",
    )

    def __init__(self, st: os.stat_result) -> None:
        self.st_mode = st.st_mode
        self.st_ino = st.st_ino
        self.st_dev = st.st_dev
        self.st_nlink = st.st_nlink
        self.st_uid = st.st_uid
        self.st_gid = st.st_gid
        self.st_size = st.st_size
        self.st_atime_ns = st.st_atime_ns
        self.st_mtime_ns = st.st_mtime_ns
        self.st_ctime_ns = st.st_ctime_ns
        self.st_blksize = st.st_blksize
        self.st_blocks = st.st_blocks
        self.st_rdev = st.st_rdev


def reachable(mode: int, vtype: int) -> int:
    """Return the mode that the host's file gets for a wanted one: no set-id bits, reachable."""
    return mode & _HOST_BITS | (_REACH_DIR if vtype == VDIR else _REACH_FILE)


class MetaIndex:
    """The records of one tree. Files of the host's user are shown as `uid`:`gid`'s without one.

    `device` is the host device of the tree, whose own number may change from mount to mount.
    """

    def __init__(self, path: bytes, device: int, uid: int, gid: int) -> None:
        self.path = path
        self.device = device
        self.uid, self.gid = uid, gid
        self.me, self.my_group = os.geteuid(), os.getegid()
        self.records: dict[Key, Meta] = {}
        self._checked: set[Key] = set()
        self._fd = -1
        self._at = 0
        self._looked = 0
        self._dead = 0
        if os.path.exists(path):
            try:
                self._open(create=False)
            except OSError:
                self.close()
                raise

    # -- the file -------------------------------------------------------------------------------

    def _open(self, *, create: bool) -> None:
        """Open the index, tidy it up if nobody else has it open, and read it. Raises OSError."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        while True:
            fd = os.open(self.path, flags, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = True
            except BlockingIOError:
                fcntl.flock(fd, fcntl.LOCK_SH)
                alone = False
            if _same(fd, self.path):
                break
            os.close(fd)
        self._fd, self._at = fd, 0
        if alone and not os.fstat(fd).st_size:
            os.write(fd, HEADER)
        self._read()
        if alone:
            self._tidy()
            fcntl.flock(self._fd, fcntl.LOCK_SH)

    def _read(self) -> None:
        """Take in what has been appended since the last time."""
        size = os.fstat(self._fd).st_size
        if size <= self._at:
            return
        data = os.pread(self._fd, size - self._at, self._at)
        if not self._at and not data.startswith(HEADER):
            raise OSError(0, "not an index of lxemu")
        whole = data.rfind(b"\n") + 1
        for line in data[:whole].splitlines():
            self._take(line)
        self._at += whole

    def _take(self, line: bytes) -> None:
        body, _, check = line.rpartition(b" ")
        if b"%08x" % zlib.crc32(body) != check:
            return
        words = body.split(b" ")
        device, ino = int(words[1]), int(words[2])
        key = (device or self.device, ino)
        if key in self.records:
            self._dead += 1
        self._checked.discard(key)
        if words[0] == b"-":
            self._dead += 1
            self.records.pop(key, None)
            return
        born, vtype, mode, uid, gid, rdev = (int(word) for word in words[3:9])
        pairs = (word.split(b"=") for word in words[9:])
        xattrs = tuple((bytes.fromhex(k.decode()), bytes.fromhex(v.decode())) for k, v in pairs)
        self.records[key] = Meta(born, vtype, mode, uid, gid, rdev, xattrs)

    def _line(self, key: Key, meta: Meta | None) -> bytes:
        device = 0 if key[0] == self.device else key[0]
        if meta is None:
            body = b"- %d %d" % (device, key[1])
        else:
            body = b"+ %d %d %d %d %d %d %d %d" % (device, key[1], *meta[:6])
            for name, value in meta.xattrs:
                body += b" %s=%s" % (name.hex().encode(), value.hex().encode())
        return b"%s %08x\n" % (body, zlib.crc32(body))

    def _append(self, key: Key, meta: Meta | None) -> None:
        """Write one line. Raises ENOSPC, EIO and the like, and then nothing has changed."""
        try:
            if self._fd < 0:
                self._open(create=True)
            self._read()
            line = self._line(key, meta)
            size = os.fstat(self._fd).st_size
            if size > self._at:
                # What a dead emulator has left of a line must not spoil this one.
                line = b"\n" + line
            if os.write(self._fd, line) != len(line):
                raise OSError(28, "short write")
        except OSError as err:
            raise host_error(err) from None
        self._read()

    def _tidy(self) -> None:
        """Write the live records to a new file and put it in the place of the old one."""
        if self._dead <= len(self.records) + 64:
            return
        temporary = self.path + b".new"
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        text = HEADER + b"".join(self._line(key, meta) for key, meta in self.records.items())
        done = 0
        while done < len(text):
            done += os.write(fd, text[done:])
        os.fsync(fd)
        os.replace(temporary, self.path)
        os.close(self._fd)
        self._fd, self._at, self._dead = fd, len(text), 0

    def sync(self) -> None:
        """Have the host write the index out."""
        if self._fd >= 0:
            os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # -- records --------------------------------------------------------------------------------

    def get(self, key: Key, name: bytes, dirfd: int) -> Meta | None:
        """Return the record of the file `name` in `dirfd`, or None; a stale one is dropped."""
        now = time.monotonic_ns()
        if now - self._looked > _FRESH and self._fd >= 0:
            self._looked = now
            self._read()
        meta = self.records.get(key)
        if meta is not None and key not in self._checked:
            if meta.born and birth_time(name, dirfd) not in (0, meta.born):
                del self.records[key]
                return None
            self._checked.add(key)
        return meta

    def shown(self, st: os.stat_result, name: bytes, dirfd: int) -> os.stat_result | HostStat:
        """Return the attributes of a file as the guest is to see them."""
        meta = self.get((st.st_dev, st.st_ino), name, dirfd)
        if meta is None:
            if st.st_uid != self.me or (self.me, self.my_group) == (self.uid, self.gid):
                return st
            found = HostStat(st)
            found.st_uid = self.uid
            found.st_gid = self.gid if st.st_gid == self.my_group else st.st_gid
            return found
        found = HostStat(st)
        found.st_mode = VTTOIF[meta.type] | meta.mode
        found.st_uid, found.st_gid = meta.uid, meta.gid
        if meta.type in (VCHR, VBLK):
            found.st_rdev = meta.rdev
            found.st_size = found.st_blocks = 0
        return found

    def needed(self, st: os.stat_result, meta: Meta, host_mode: int) -> bool:
        """Return whether the host, with `host_mode`, does not say the same by itself."""
        vtype = IFTOVT.get(st.st_mode & 0o170000, 0)
        plain = Meta(meta.born, vtype, host_mode, self.uid, self.gid)
        return meta != plain or st.st_uid != self.me

    def put(self, st: os.stat_result, name: bytes, dirfd: int, meta: Meta) -> None:
        """Set the record of a file. Raises ENOSPC, EIO."""
        key = (st.st_dev, st.st_ino)
        meta = meta._replace(born=birth_time(name, dirfd))
        if meta != self.get(key, name, dirfd):
            self._append(key, meta)
            self._checked.add(key)

    def drop(self, key: Key) -> None:
        """Forget a file that is gone."""
        if key in self.records:
            self._append(key, None)

    def types(self, device: int) -> dict[int, int]:
        """Return the types by number of those files on a device that the index says are devices."""
        return {
            ino: meta.type
            for (dev, ino), meta in self.records.items()
            if dev == device and meta.type in (VCHR, VBLK)
        }


def _same(fd: int, path: bytes) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def index_paths(tree: bytes) -> Iterator[bytes]:
    """Return where the index of a tree may be: beside it, else among the user's own files."""
    parent, name = os.path.split(tree)
    if name:
        yield os.path.join(parent, b"." + name + b".lxemu-meta")
    state = os.environb.get(b"XDG_STATE_HOME") or os.path.expanduser(b"~/.local/state")
    yield os.path.join(state, b"lxemu", b"%08x.lxemu-meta" % zlib.crc32(tree))


def open_index(tree: bytes, uid: int, gid: int, path: bytes | None = None) -> MetaIndex:
    """Return the index of a tree of the host. Raises OSError where it cannot be read or written."""
    device = os.stat(tree).st_dev
    for candidate in [path] if path is not None else index_paths(tree):
        parent = os.path.dirname(candidate) or b"."
        if os.path.exists(candidate):
            return MetaIndex(candidate, device, uid, gid)
        if path is None and not _is_beside(candidate, tree):
            os.makedirs(parent, 0o700, exist_ok=True)
        if os.access(parent, os.W_OK):
            return MetaIndex(candidate, device, uid, gid)
    raise PermissionError(13, os.strerror(13))


def _is_beside(candidate: bytes, tree: bytes) -> bool:
    return os.path.dirname(candidate) == os.path.dirname(tree)
