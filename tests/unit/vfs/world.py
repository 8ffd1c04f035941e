"""Two worlds with the same calls: the host's own files, and ours. Tests compare what they say.

Paths are relative to a base directory that is the only entry of its parent. Results are values or
the name of the error; both worlds can be asked for a picture of the whole tree.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from contextlib import contextmanager
from types import SimpleNamespace

from lxemu.kernel.cred import Cred
from lxemu.kernel.errno import KernelError
from lxemu.kernel.vfs import attr, ops
from lxemu.kernel.vfs import fcntl as f
from lxemu.kernel.vfs.lookup import lookupname
from lxemu.kernel.vfs.vnode import VDIR, VFIFO, VLNK, VREG, VSOCK

#: Open flags by name: what the host calls them, what the kernel does.
FLAGS = {
    "rdonly": (os.O_RDONLY, f.O_RDONLY),
    "wronly": (os.O_WRONLY, f.O_WRONLY),
    "rdwr": (os.O_RDWR, f.O_RDWR),
    "creat": (os.O_CREAT, f.O_CREAT),
    "excl": (os.O_EXCL, f.O_EXCL),
    "trunc": (os.O_TRUNC, f.O_TRUNC),
    "append": (os.O_APPEND, f.O_APPEND),
    "directory": (os.O_DIRECTORY, f.O_DIRECTORY),
    "nofollow": (os.O_NOFOLLOW, f.O_NOFOLLOW),
    "nonblock": (os.O_NONBLOCK, f.O_NONBLOCK),
    "path": (getattr(os, "O_PATH", 0), f.O_PATH),
    "noatime": (getattr(os, "O_NOATIME", 0), f.O_NOATIME),
    # The host's flag includes its directory flag, without which it means nothing.
    "tmpfile": (getattr(os, "O_TMPFILE", 0), f.O_TMPFILE),
}
_LIBC = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_RENAME_FLAGS = {"noreplace": 1, "exchange": 2}
FIFO, SOCK, REG = "fifo", "sock", "reg"


def host_flags(names):
    return sum(FLAGS[n][0] for n in names.split("|")) | os.O_CLOEXEC


def our_flags(names):
    return sum(FLAGS[n][1] for n in names.split("|"))


class Host:
    """The host's files under `base`."""

    def __init__(self, base, cred: Cred | None = None):
        self.base = os.fsencode(base)
        self.cred = cred
        self.umask = 0o022

    @contextmanager
    def _inside(self):
        cwd = os.getcwd()
        umask = os.umask(self.umask)
        os.chdir(self.base)
        ids = None
        if self.cred is not None and self.cred.fsuid != os.geteuid():
            ids = (os.geteuid(), os.getegid(), os.getgroups())
            os.setgroups(self.cred.groups)
            os.setegid(self.cred.fsgid)
            os.seteuid(self.cred.fsuid)
        try:
            yield
        finally:
            if ids is not None:
                os.seteuid(ids[0])
                os.setegid(ids[1])
                os.setgroups(ids[2])
            os.chdir(cwd)
            os.umask(umask)

    def do(self, call, *args, **kw):
        with self._inside():
            try:
                return getattr(self, call)(*args, **kw)
            except OSError as err:
                return errno.errorcode[err.errno]

    def open(self, path, flags, mode=0o666, data=b""):
        fd = os.open(path, host_flags(flags), mode)
        try:
            st = os.fstat(fd)
            is_dir = stat.S_ISDIR(st.st_mode)
            out = [stat.S_IFMT(st.st_mode), 0 if is_dir else st.st_size]
            if data:
                out.append(os.write(fd, data))
            return out
        finally:
            os.close(fd)

    def read(self, path):
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return os.read(fd, 1 << 20)
        finally:
            os.close(fd)

    def mkdir(self, path, mode=0o777):
        os.mkdir(path, mode)

    def rmdir(self, path):
        os.rmdir(path)

    def unlink(self, path):
        os.unlink(path)

    def rename(self, a, b, how=""):
        if not how:
            os.rename(a, b)
        elif _LIBC.renameat2(_AT_FDCWD, a, _AT_FDCWD, b, _RENAME_FLAGS[how]) < 0:
            number = ctypes.get_errno()
            raise OSError(number, how)

    def link(self, a, b):
        os.link(a, b, follow_symlinks=False)

    def symlink(self, target, path):
        os.symlink(target, path)

    def readlink(self, path):
        return os.readlink(path)

    def mknod(self, path, kind, mode=0o666):
        kinds = {FIFO: stat.S_IFIFO, SOCK: stat.S_IFSOCK, REG: stat.S_IFREG}
        os.mknod(path, kinds[kind] | mode)

    def truncate(self, path, size):
        os.truncate(path, size)

    def chmod(self, path, mode):
        os.chmod(path, mode)

    def chown(self, path, uid, gid):
        os.chown(path, uid, gid)

    def utime(self, path, atime, mtime):
        os.utime(path, ns=(atime, mtime))

    def touch(self, path):
        os.utime(path)

    def stat(self, path, follow=True):
        return _picture(os.stat(path, follow_symlinks=follow))

    def access(self, path, want):
        return os.access(path, want, effective_ids=True)

    def listdir(self, path):
        return sorted(os.fsencode(n) for n in os.listdir(path))

    def tree(self):
        """Return {path: picture} of everything under the base."""
        out = {}
        for top, dirs, files in os.walk(self.base):
            for name in dirs + files:
                path = os.path.join(top, name)
                st = os.lstat(path)
                entry = _picture(st)
                if stat.S_ISLNK(st.st_mode):
                    entry += (os.readlink(path),)
                elif stat.S_ISREG(st.st_mode):
                    with open(path, "rb") as file:
                        entry += (file.read(),)
                out[os.path.relpath(path, self.base)] = entry
        return out


def _picture(st):
    size = st.st_size if not stat.S_ISDIR(st.st_mode) else 0
    nlink = st.st_nlink if not stat.S_ISDIR(st.st_mode) else 0
    return (st.st_mode, st.st_uid, st.st_gid, nlink, size)


class Ours:
    """The kernel's files: a mount table whose root holds the base directory."""

    def __init__(self, mounts, base=b"base", cred: Cred | None = None, umask=0o022):
        self.mounts = mounts
        self.proc = SimpleNamespace(
            cred=cred if cred is not None else Cred(),
            fs=SimpleNamespace(root=mounts.root, cwd=mounts.root, umask=umask),
        )
        self.boss = SimpleNamespace(cred=Cred(), fs=self.proc.fs)
        self.cwd = lookupname(mounts.root, mounts.root, b"/" + base, Cred())
        self.proc.fs.cwd = self.cwd

    def close(self):
        """Unmount everything and let go of it."""
        for mount in self.mounts:
            mount.vfs.unmount()
            mount.recent.clear()
        self.__dict__.clear()

    def do(self, call, *args, **kw):
        try:
            return getattr(self, call)(*args, **kw)
        except KernelError as err:
            return err.errno.name

    def name(self, path, follow=True):
        return lookupname(self.cwd, self.proc.fs.root, path, self.proc.cred, follow)

    def vn_open(self, path, flags, mode=0o666):
        return ops.vn_open(self.proc, self.cwd, path, our_flags(flags), mode)

    def open(self, path, flags, mode=0o666, data=b""):
        file = self.vn_open(path, flags, mode)
        try:
            vattr = file.vnode.getattr()
            out = [stat.S_IFMT(vattr.st_mode), 0 if vattr.type == VDIR else vattr.size]
            if data:
                out.append(file.write(data))
            return out
        finally:
            file.rele()

    def read(self, path):
        file = self.vn_open(path, "rdonly|nonblock")
        try:
            return file.read(1 << 20)
        finally:
            file.rele()

    def mkdir(self, path, mode=0o777):
        ops.vn_mkdir(self.proc, self.cwd, path, mode)

    def rmdir(self, path):
        ops.vn_rmdir(self.proc, self.cwd, path)

    def unlink(self, path):
        ops.vn_remove(self.proc, self.cwd, path)

    def rename(self, a, b, how=""):
        flags = {how: True} if how else {}
        ops.vn_rename(self.proc, self.cwd, a, self.cwd, b, **flags)

    def link(self, a, b):
        ops.vn_link(self.proc, self.name(a, follow=False), self.cwd, b)

    def symlink(self, target, path):
        ops.vn_symlink(self.proc, target, self.cwd, path)

    def readlink(self, path):
        return self.name(path, follow=False).vnode.readlink()

    def mknod(self, path, kind, mode=0o666):
        kinds = {FIFO: VFIFO, SOCK: VSOCK, REG: VREG}
        ops.vn_mknod(self.proc, self.cwd, path, kinds[kind], mode)

    def truncate(self, path, size):
        if size < 0:
            return "EINVAL"  # what a handler says before it looks at the path
        return attr.vn_truncate(self.name(path), size, self.proc.cred)

    def chmod(self, path, mode):
        attr.vn_chmod(self.name(path), mode, self.proc.cred)

    def chown(self, path, uid, gid):
        attr.vn_chown(self.name(path), uid, gid, self.proc.cred)

    def utime(self, path, atime, mtime):
        attr.vn_utimens(self.name(path), atime, mtime, self.proc.cred, now=False)

    def touch(self, path):
        attr.vn_utimens(self.name(path), 5, 5, self.proc.cred, now=True)

    def stat(self, path, follow=True):
        return _our_picture(self.name(path, follow).vnode.getattr())

    def access(self, path, want):
        try:
            ops.check_access(self.name(path), want, self.proc.cred)
        except KernelError:
            return False
        return True

    def listdir(self, path):
        name = self.name(path)
        name.vnode.access(4, self.proc.cred)
        return sorted(n for n in entries(name.vnode) if n not in (b".", b".."))

    def tree(self):
        """Return {path: picture} of everything under the base, seen by one who may see all."""
        out = {}
        todo = [(b"", self.cwd)]
        while todo:
            path, name = todo.pop()
            for last in entries(name.vnode):
                if last in (b".", b".."):
                    continue
                child = lookupname(name, self.proc.fs.root, last, Cred(), False)
                sub = path + b"/" + last if path else last
                entry = _our_picture(child.vnode.getattr())
                if child.vnode.type == VLNK:
                    entry += (child.vnode.readlink(),)
                elif child.vnode.type == VREG:
                    file = ops.open_name(child, f.O_RDONLY, Cred())
                    entry += (file.read(1 << 20),)
                    file.rele()
                elif child.vnode.type == VDIR:
                    todo.append((sub, child))
                out[sub] = entry
        return out


def entries(vnode):
    """Return the names in a directory, read in as many goes as it takes."""
    out = []
    cookie = 0
    while batch := vnode.readdir(cookie):
        out += [entry.name for entry in batch]
        cookie = batch[-1].next_cookie
    return out


def _our_picture(vattr):
    directory = vattr.type == VDIR
    return (
        vattr.st_mode,
        vattr.uid,
        vattr.gid,
        0 if directory else vattr.nlink,
        0 if directory else vattr.size,
    )
