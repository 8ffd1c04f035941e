"""Host-side exceptions: what goes wrong around the guest, never inside it.

A failure that the guest may see is a `lxemu.kernel.errno.KernelError`. These are the others:

    LxemuError
     +-- ConfigError      an option, mount or image that the person asked for cannot be had
     +-- ElfError         a program file that this machine cannot run, and why
     +-- EngineError      the CPU engine misbehaved or lacks something that we need
     +-- ExecFailed       the first program cannot be started
     +-- InternalError    a defect of ours: the machine stops with exit status 70
"""

from __future__ import annotations

from lxemu.kernel.errno import Errno


class LxemuError(Exception):
    """Root of the host-side exceptions; `str()` is a sentence for a person."""


class ConfigError(LxemuError):
    """What the person asked for cannot be set up."""


class ElfError(LxemuError):
    """A program file cannot be run; the message names the reason.

    `errno` is what the guest's exec fails with. `fatal_after_commit` tells that a real kernel
    notices only after the old image is gone.
    """

    def __init__(
        self,
        message: str,
        *,
        errno: Errno = Errno.ENOEXEC,
        fatal_after_commit: bool = False,
    ) -> None:
        super().__init__(message)
        self.errno = errno
        self.fatal_after_commit = fatal_after_commit


class EngineError(LxemuError):
    """The CPU engine cannot do what the machine needs."""


class ExecFailed(LxemuError):  # noqa: N818 (an outcome, not a fault)
    """The first program cannot be started; `errno` says why."""

    def __init__(self, errno: Errno, text: str) -> None:
        super().__init__(text)
        self.errno = errno


class InternalError(LxemuError):
    """A fault of ours, not the guest's; the text is the report. Exit status 70 (EX_SOFTWARE)."""
