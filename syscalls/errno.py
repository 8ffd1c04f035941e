"""Error numbers from the kernel (illumos) to Linux, by name.

The map is that of the lx brand (usr/src/common/brand/lx/lx_errno.c). Two oddities are lx's and are
kept: ENOTSUP, which a handler raises for what is not implemented, is Linux's ENOSYS (Linux's own
ENOTSUP is EOPNOTSUPP), and both EDEADLK and EDEADLOCK are Linux's EDEADLK.
"""

from __future__ import annotations

from lxemu.kernel.errno import Errno

#: Linux numbers (asm-generic/errno.h) of the names that differ from illumos; 1 to 34 agree.
_DIFFERENT: dict[str, int] = {
    "ENOMSG": 42,
    "EIDRM": 43,
    "ECHRNG": 44,
    "EL2NSYNC": 45,
    "EL3HLT": 46,
    "EL3RST": 47,
    "ELNRNG": 48,
    "EUNATCH": 49,
    "ENOCSI": 50,
    "EL2HLT": 51,
    "EDEADLK": 35,
    "ENOLCK": 37,
    "ECANCELED": 125,
    "ENOTSUP": 38,
    "EDQUOT": 122,
    "EBADE": 52,
    "EBADR": 53,
    "EXFULL": 54,
    "ENOANO": 55,
    "EBADRQC": 56,
    "EBADSLT": 57,
    "EDEADLOCK": 35,
    "EBFONT": 59,
    "EOWNERDEAD": 130,
    "ENOTRECOVERABLE": 131,
    "ENOSTR": 60,
    "ENODATA": 61,
    "ETIME": 62,
    "ENOSR": 63,
    "ENONET": 64,
    "ENOPKG": 65,
    "EREMOTE": 66,
    "ENOLINK": 67,
    "EADV": 68,
    "ESRMNT": 69,
    "ECOMM": 70,
    "EPROTO": 71,
    "EMULTIHOP": 72,
    "EBADMSG": 74,
    "ENAMETOOLONG": 36,
    "EOVERFLOW": 75,
    "ENOTUNIQ": 76,
    "EBADFD": 77,
    "EREMCHG": 78,
    "ELIBACC": 79,
    "ELIBBAD": 80,
    "ELIBSCN": 81,
    "ELIBMAX": 82,
    "ELIBEXEC": 83,
    "EILSEQ": 84,
    "ENOSYS": 38,
    "ELOOP": 40,
    "ERESTART": 85,
    "ESTRPIPE": 86,
    "ENOTEMPTY": 39,
    "EUSERS": 87,
    "ENOTSOCK": 88,
    "EDESTADDRREQ": 89,
    "EMSGSIZE": 90,
    "EPROTOTYPE": 91,
    "ENOPROTOOPT": 92,
    "EPROTONOSUPPORT": 93,
    "ESOCKTNOSUPPORT": 94,
    "EOPNOTSUPP": 95,
    "EPFNOSUPPORT": 96,
    "EAFNOSUPPORT": 97,
    "EADDRINUSE": 98,
    "EADDRNOTAVAIL": 99,
    "ENETDOWN": 100,
    "ENETUNREACH": 101,
    "ENETRESET": 102,
    "ECONNABORTED": 103,
    "ECONNRESET": 104,
    "ENOBUFS": 105,
    "EISCONN": 106,
    "ENOTCONN": 107,
    "ESHUTDOWN": 108,
    "ETOOMANYREFS": 109,
    "ETIMEDOUT": 110,
    "ECONNREFUSED": 111,
    "EHOSTDOWN": 112,
    "EHOSTUNREACH": 113,
    "EALREADY": 114,
    "EINPROGRESS": 115,
    "ESTALE": 116,
}

#: illumos lock errors that no Linux call can return; they become Linux's EINVAL, the lx default.
_LOCK_ONLY = frozenset({"ELOCKUNMAPPED", "ENOTACTIVE"})

LX_EINVAL = 22
LX_ENOSYS = 38
LX_MAX_ERRNO = 4095


def _build() -> tuple[int, ...]:
    """Fold the names into a flat tuple; an unused kernel number gives EINVAL, as lx's default."""
    table = [LX_EINVAL] * (max(Errno) + 1)
    table[0] = 0
    for err in Errno:
        if err.name in _LOCK_ONLY:
            continue
        if err <= 34:
            table[err] = int(err)
        else:
            table[err] = _DIFFERENT[err.name]
    return tuple(table)


#: Linux number of kernel error n: what a system call returns, negated.
ERRNO_OUT: tuple[int, ...] = _build()

#: Linux names by number, for tracing (the canonical name where two share a number).
LX_ERRNO_NAMES: dict[int, str] = {}
for _err in Errno:
    LX_ERRNO_NAMES.setdefault(ERRNO_OUT[_err], _err.name)
LX_ERRNO_NAMES[LX_ENOSYS] = "ENOSYS"
LX_ERRNO_NAMES[85] = "ERESTART"
