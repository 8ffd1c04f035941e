"""Name nodes: located files, the kernel's name cache.

A vnode is a file; a `Name` is where it was found: a vnode under a parent Name, in a mount. There is
one Name for each (parent, name) as long as somebody holds it, so two holders compare by identity,
and a rename moves the node: working directories and open files keep a path that stays right.

A directory's children are weak references; each mount keeps its most recent Names alive
(`Mount.recent`), which is what makes the cache a cache. A cached Name is never believed alone:
lookup asks the directory vnode, and a Name whose vnode is no longer the answer is replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

from lxemu.kernel.vfs.vnode import VDIR

if TYPE_CHECKING:
    from lxemu.kernel.vfs.mount import Mount
    from lxemu.kernel.vfs.vnode import Vnode


class Name:
    """A vnode at a place. `mounted` is the root of a file system mounted here, if any.

    `parent` is None at the top of the tree and for what has no path (a pipe). `unlinked` is set
    when the directory entry has been removed or replaced.
    """

    __slots__ = (
        "__weakref__",
        "children",
        "mount",
        "mounted",
        "name",
        "parent",
        "unlinked",
        "vnode",
    )

    def __init__(
        self, parent: Name | None, name: bytes, vnode: Vnode, mount: Mount | None = None
    ) -> None:
        self.parent = parent
        self.name = name
        self.vnode = vnode
        self.mount = mount
        self.mounted: Name | None = None
        self.unlinked = False
        self.children: dict[bytes, ref[Name]] | None = {} if vnode.type == VDIR else None

    def __del__(self) -> None:
        parent = self.parent
        if parent is not None and parent.children is not None:
            known = parent.children.get(self.name)
            if known is not None and known() in (None, self):
                del parent.children[self.name]

    def __repr__(self) -> str:
        return f"<Name {self.path().decode(errors='backslashreplace')!r}>"

    def cached(self, name: bytes) -> Name | None:
        """Return the child Name that is in the cache, right or not."""
        known = self.children.get(name) if self.children is not None else None
        return known() if known is not None else None

    def enter(self, name: bytes, vnode: Vnode) -> Name:
        """Return the Name of child `name`, which the directory says is `vnode`."""
        children = self.children
        assert children is not None
        known = children.get(name)
        if known is not None:
            child = known()
            if child is not None:
                if child.vnode is vnode:
                    return child
                child.unlinked = True
                if self.mount is not None:
                    self.mount.recent.pop(child, None)
        child = Name(self, name, vnode, self.mount)
        children[name] = ref(child)
        if self.mount is not None:
            self.mount.remember(child)
        return child

    def forget(self, name: bytes) -> None:
        """Take child `name` out of the cache: its entry has been removed."""
        child = self.cached(name)
        if child is not None:
            child.unlinked = True
            self._drop(name)
            if child.mount is not None:
                # Or the cache would keep the bytes of a removed file.
                child.mount.recent.pop(child, None)

    def moved(self, name: bytes, newdir: Name, newname: bytes) -> None:
        """Follow a rename of child `name` to `newname` in `newdir`."""
        child = self.cached(name)
        newdir.forget(newname)
        self._drop(name)
        if child is not None:
            child._place(newdir, newname)

    def exchanged(self, name: bytes, newdir: Name, newname: bytes) -> None:
        """Follow an exchange of two entries."""
        one, two = self.cached(name), newdir.cached(newname)
        self._drop(name)
        newdir._drop(newname)
        if one is not None:
            one._place(newdir, newname)
        if two is not None:
            two._place(self, name)

    def _drop(self, name: bytes) -> None:
        if self.children is not None:
            self.children.pop(name, None)

    def _place(self, parent: Name, name: bytes) -> None:
        self.parent = parent
        self.name = name
        if parent.children is not None:
            parent.children[name] = ref(self)

    def path(self, root: Name | None = None) -> bytes:
        """Return the path as seen from `root` (from the top of the tree if it is not below `root`).

        What has no parent and is no root of a mount (a pipe) gives its bare name.
        """
        parts: list[bytes] = []
        node = self
        while node is not root:
            if node.parent is None:
                if not parts and node.name:
                    return node.name
                break
            parts.append(node.name)
            node = node.parent
        parts.reverse()
        return b"/" + b"/".join(parts)

    def is_below(self, root: Name) -> bool:
        """Return whether this is `root` or lies under it."""
        node: Name | None = self
        while node is not None:
            if node is root:
                return True
            node = node.parent
        return False

    def detached(self) -> bool:
        """Return whether this or a directory above it has been removed."""
        node: Name | None = self
        while node is not None:
            if node.unlinked:
                return True
            node = node.parent
        return False

    @property
    def flags(self) -> int:
        """VFS_* flags in force here: those of the mount and of the file system."""
        return self.vnode.vfs.flags | (self.mount.flags if self.mount is not None else 0)
