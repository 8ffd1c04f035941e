"""The text of Linux /proc files that tell of the whole system.

Each function takes the machine and returns the file as a kernel of the 6.x series prints it
(Documentation/filesystems/proc.rst, and the running kernel where that is vague).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: Clock ticks a second of every time that the user ABI gives in ticks (USER_HZ).
USER_HZ = 100
TICK_NS = 1_000_000_000 // USER_HZ
PAGE_KB = 4

#: CPUID leaf 1 EDX, ECX; 0x80000001 EDX, ECX, by bit (arch/x86/include/asm/cpufeatures.h).
_EDX1 = [
    "fpu",
    "vme",
    "de",
    "pse",
    "tsc",
    "msr",
    "pae",
    "mce",
    "cx8",
    "apic",
    "-",
    "sep",
    "mtrr",
    "pge",
    "mca",
    "cmov",
    "pat",
    "pse36",
    "pn",
    "clflush",
    "-",
    "dts",
    "acpi",
    "mmx",
    "fxsr",
    "sse",
    "sse2",
    "ss",
    "ht",
    "tm",
    "ia64",
    "pbe",
]
_ECX1 = [
    "pni",
    "pclmulqdq",
    "dtes64",
    "monitor",
    "ds_cpl",
    "vmx",
    "smx",
    "est",
    "tm2",
    "ssse3",
    "cid",
    "sdbg",
    "fma",
    "cx16",
    "xtpr",
    "pdcm",
    "-",
    "pcid",
    "dca",
    "sse4_1",
    "sse4_2",
    "x2apic",
    "movbe",
    "popcnt",
    "tsc_deadline_timer",
    "aes",
    "xsave",
    "-",
    "avx",
    "f16c",
    "rdrand",
    "hypervisor",
]
_EXT_EDX = {11: "syscall", 19: "mp", 20: "nx", 22: "mmxext", 25: "fxsr_opt", 26: "pdpe1gb",
            27: "rdtscp", 29: "lm", 30: "3dnowext", 31: "3dnow"}  # fmt: skip
_EXT_ECX = [
    "lahf_lm",
    "cmp_legacy",
    "svm",
    "extapic",
    "cr8_legacy",
    "abm",
    "sse4a",
    "misalignsse",
    "3dnowprefetch",
    "osvw",
]


def cpu_flags(machine: Any) -> str:
    """Return the `flags` line of /proc/cpuinfo, from the CPUID words that the engine reports."""
    leaves = machine.engine.cpuid
    _, _, ecx, edx = leaves[1]
    _, _, xecx, xedx = leaves.get(0x80000001, (0, 0, 0, 0))
    flags = [name for bit, name in enumerate(_EDX1) if edx >> bit & 1 and name != "-"]
    flags += [name for bit, name in sorted(_EXT_EDX.items()) if xedx >> bit & 1]
    flags += ["constant_tsc", "rep_good", "nopl", "cpuid"]
    flags += [name for bit, name in enumerate(_ECX1) if ecx >> bit & 1 and name != "-"]
    flags += [name for bit, name in enumerate(_EXT_ECX) if xecx >> bit & 1]
    return " ".join(flags)


def cpu_identity(cpuid: dict[int, tuple[int, int, int, int]]) -> tuple[str, int, int, int]:
    """Return vendor, family, model and stepping as the CPUID instruction gives them."""
    _, ebx, ecx, edx = cpuid[0]
    vendor = b"".join(word.to_bytes(4, "little") for word in (ebx, edx, ecx)).decode("ascii")
    signature = cpuid[1][0]
    family, model = signature >> 8 & 0xF, signature >> 4 & 0xF
    if family == 0xF:
        family += signature >> 20 & 0xFF
    if family in (6, *range(0xF, 0x100)):
        model |= signature >> 12 & 0xF0
    return vendor, family, model, signature & 0xF


def cpuinfo(machine: Any) -> bytes:
    """/proc/cpuinfo: one processor, the machine's."""
    mhz = "2000.000"
    vendor, family, model, stepping = cpu_identity(machine.engine.cpuid)
    return f"""processor\t: 0
vendor_id\t: {vendor}
cpu family\t: {family}
model\t\t: {model}
model name\t: lxemu virtual CPU
stepping\t: {stepping}
microcode\t: 0x1
cpu MHz\t\t: {mhz}
cache size\t: 16384 KB
physical id\t: 0
siblings\t: 1
core id\t\t: 0
cpu cores\t: 1
apicid\t\t: 0
initial apicid\t: 0
fpu\t\t: yes
fpu_exception\t: yes
cpuid level\t: 4
wp\t\t: yes
flags\t\t: {cpu_flags(machine)}
bugs\t\t:
bogomips\t: 4000.00
clflush size\t: 64
cache_alignment\t: 64
address sizes\t: 40 bits physical, 48 bits virtual
power management:

""".encode()


def mem_total(machine: Any) -> int:
    """Return the memory of the machine in bytes, the limit if there is one."""
    total = int(machine.phys.nframes) * 4096
    limit = getattr(machine, "mem_limit", None)
    return min(total, int(limit)) if limit else total


def mem_free(machine: Any) -> int:
    """Return the memory that no process or cache holds, bytes."""
    used = int(machine.phys.used_frames) * 4096
    return max(0, mem_total(machine) - used)


_MEMINFO_ZERO = [
    "Unevictable",
    "Mlocked",
    "SwapTotal",
    "SwapFree",
    "Zswap",
    "Zswapped",
    "Dirty",
    "Writeback",
    "AnonPages",
    "Mapped",
    "Shmem",
    "KReclaimable",
    "Slab",
    "SReclaimable",
    "SUnreclaim",
    "KernelStack",
    "PageTables",
    "SecPageTables",
    "NFS_Unstable",
    "Bounce",
    "WritebackTmp",
    "CommitLimit",
    "Committed_AS",
    "VmallocTotal",
    "VmallocUsed",
    "VmallocChunk",
    "Percpu",
    "AnonHugePages",
    "ShmemHugePages",
    "ShmemPmdMapped",
    "FileHugePages",
    "FilePmdMapped",
]


def meminfo(machine: Any) -> bytes:
    """/proc/meminfo, from the frames of the machine; no swap, no huge pages."""
    total, free = mem_total(machine) >> 10, mem_free(machine) >> 10
    cached = sum(cache.npages for cache in tuple(machine.phys.caches)) * PAGE_KB
    used = total - free - cached
    values = {
        "MemTotal": total,
        "MemFree": free,
        "MemAvailable": free + cached,
        "Buffers": 0,
        "Cached": cached,
        "SwapCached": 0,
        "Active": used,
        "Inactive": 0,
        "Active(anon)": used,
        "Inactive(anon)": 0,
        "Active(file)": cached,
        "Inactive(file)": 0,
    }
    values |= dict.fromkeys(_MEMINFO_ZERO, 0)
    commit = machine.phys.commit
    values |= {"CommitLimit": commit.limit >> 10, "Committed_AS": commit.promised() >> 10}
    values["AnonPages"] = used
    values["VmallocTotal"] = 34359738367
    lines = [f"{name + ':':<15} {value:>8} kB\n" for name, value in values.items()]
    lines += [f"{'HugePages_' + n + ':':<15} {0:>8}\n" for n in ("Total", "Free", "Rsvd", "Surp")]
    lines += [f"Hugepagesize:   {2048:>8} kB\n", f"Hugetlb:        {0:>8} kB\n"]
    return "".join(lines).encode()


def uptime_ns(machine: Any) -> int:
    """Return ns since the zone booted."""
    return int(machine.clock.hrtime() - machine.zone.boot_hrtime)


def cpu_used_ns(machine: Any) -> int:
    """Return ns of CPU that the guests of the machine have used, as far as live processes know."""
    init = machine.init
    gone = init.child_usage.utime if init is not None else 0
    return int(gone + sum(proc.cpu_time() for proc in machine.procs.values()))


def uptime(machine: Any) -> bytes:
    """/proc/uptime: seconds up and seconds idle."""
    up = uptime_ns(machine)
    idle = max(0, up - cpu_used_ns(machine))
    ten_ms = 10_000_000
    shown = (f"{ns // 10**9}.{ns // ten_ms % 100:02d}" for ns in (up, idle))
    return (" ".join(shown) + "\n").encode()


def stat(machine: Any) -> bytes:
    """/proc/stat: one CPU; interrupts and softirqs are not counted."""
    used = cpu_used_ns(machine) // TICK_NS
    idle = max(0, uptime_ns(machine) // TICK_NS - used)
    cpu = f"{used} 0 0 {idle} 0 0 0 0 0 0"
    running = sum(1 for lwp in machine.lwp_by_tid.values() if lwp.state in (1, 2))
    lines = (
        f"cpu  {cpu}",
        f"cpu0 {cpu}",
        "intr 0",
        "ctxt 0",
        f"btime {machine.zone.boot_realtime // 10**9}",
        f"processes {machine.zone.forks}",
        f"procs_running {max(1, running)}",
        "procs_blocked 0",
        "softirq 0 0 0 0 0 0 0 0 0 0 0",
    )
    return ("\n".join(lines) + "\n").encode()


def loads(machine: Any) -> tuple[float, float, float]:
    """Return the load averages; a machine that does not keep them reports none."""
    values = getattr(machine, "loadavg", (0.0, 0.0, 0.0))
    return (float(values[0]), float(values[1]), float(values[2]))


def loadavg(machine: Any) -> bytes:
    """/proc/loadavg."""
    one, five, fifteen = loads(machine)
    lwps = machine.lwp_by_tid
    running = sum(1 for lwp in lwps.values() if lwp.state in (1, 2))
    last = max(lwps, default=1)
    return f"{one:.2f} {five:.2f} {fifteen:.2f} {running}/{len(lwps)} {last}\n".encode()


def release(machine: Any) -> str:
    """Return the kernel release of the zone, uname's and /proc's."""
    return str(machine.zone.kernel_version)


#: uname's `version` field (lx prints "BrandZ virtual linux"; the form here is what scripts parse).
LX_VERSION = "#1 SMP PREEMPT_DYNAMIC BrandZ virtual linux"


def version(machine: Any) -> bytes:
    """/proc/version."""
    return (
        f"Linux version {release(machine)} (lxemu@lxemu) (gcc (GCC) 13.2.0, GNU ld 2.41)"
        f" {LX_VERSION}\n"
    ).encode()


DEVICES = b"""Character devices:
  1 mem
  5 /dev/tty
  5 /dev/console
  5 /dev/ptmx
128 ptm
136 pts

Block devices:
"""

#: Files whose text never changes.
FIXED: dict[bytes, bytes] = {
    b"cmdline": b"console=hvc0 root=lofs rw\n",
    b"devices": DEVICES,
    b"partitions": b"major minor  #blocks  name\n\n",
    b"swaps": b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
    b"modules": b"",
    b"diskstats": b"",
    b"cgroups": b"#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t1\t1\npids\t0\t1\t1\n",
    b"consoles": b"hvc0                 -W- (EC  p  )  229:0\n",
    b"dma": b"",
    b"interrupts": b"           CPU0       \n",
    b"misc": b"",
}

#: Files made at each opening.
DYNAMIC: dict[bytes, Callable[[Any], bytes]] = {
    b"cpuinfo": cpuinfo,
    b"meminfo": meminfo,
    b"uptime": uptime,
    b"stat": stat,
    b"loadavg": loadavg,
    b"version": version,
}


def vmstat(machine: Any) -> bytes:
    """/proc/vmstat: the counters that the machine has."""
    free = mem_free(machine) // 4096
    used = mem_total(machine) // 4096 - free
    return (
        f"nr_free_pages {free}\nnr_anon_pages {used}\nnr_mapped 0\nnr_file_pages 0\nnr_dirty 0\n"
        "nr_writeback 0\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\n"
        f"pgfault 0\npgmajfault 0\noom_kill {getattr(machine, 'oom_kills', 0)}\n"
    ).encode()


DYNAMIC[b"vmstat"] = vmstat

TTY_DRIVERS = (
    b"/dev/tty             /dev/tty        5       0 system:/dev/tty\n"
    b"/dev/console         /dev/console    5       1 system:console\n"
    b"/dev/ptmx            /dev/ptmx       5       2 system\n"
    b"pty_slave            /dev/pts      136 0-1048575 pty:slave\n"
    b"pty_master           /dev/ptm      128 0-1048575 pty:master\n"
)

#: Values of /proc/sys/kernel that are kept and read back; Linux's own defaults.
SYS_KERNEL: dict[bytes, bytes] = {
    b"ctrl-alt-del": b"0",
    b"dmesg_restrict": b"0",
    b"kptr_restrict": b"0",
    b"modprobe": b"/sbin/modprobe",
    b"overflowuid": b"65534",
    b"overflowgid": b"65534",
    b"panic": b"0",
    b"perf_event_paranoid": b"4",
    b"printk": b"4\t4\t1\t7",
    b"randomize_va_space": b"2",
    b"sched_rr_timeslice_ms": b"100",
    b"sched_rt_period_us": b"1000000",
    b"sched_rt_runtime_us": b"950000",
    b"sysrq": b"0",
    b"tainted": b"0",
    b"threads-max": b"192730",
    b"unprivileged_bpf_disabled": b"2",
}

#: The other groups of /proc/sys, likewise.
SYS_GROUPS: dict[bytes, dict[bytes, bytes]] = {
    b"kernel/seccomp": {
        b"actions_avail": b"kill_process kill_thread trap errno user_notif trace log allow",
        b"actions_logged": b"kill_process kill_thread trap errno user_notif trace log",
    },
    b"vm": {
        b"dirty_background_bytes": b"0",
        b"dirty_background_ratio": b"10",
        b"dirty_bytes": b"0",
        b"dirty_expire_centisecs": b"3000",
        b"dirty_ratio": b"20",
        b"dirty_writeback_centisecs": b"500",
        b"dirtytime_expire_seconds": b"43200",
        b"drop_caches": b"0",
        b"max_map_count": b"65530",
        b"min_free_kbytes": b"67584",
        b"mmap_min_addr": b"65536",
        b"nr_hugepages": b"0",
        b"swappiness": b"60",
        b"vfs_cache_pressure": b"100",
    },
    b"fs": {
        b"file-max": b"9223372036854775807",
        b"leases-enable": b"1",
        b"nr_open": b"1048576",
        b"pipe-max-size": b"1048576",
        b"pipe-user-pages-hard": b"0",
        b"pipe-user-pages-soft": b"16384",
        b"protected_fifos": b"0",
        b"protected_hardlinks": b"0",
        b"protected_regular": b"0",
        b"protected_symlinks": b"0",
        b"suid_dumpable": b"0",
    },
    b"fs/epoll": {b"max_user_watches": b"5519155"},
    b"net/core": {b"somaxconn": b"4096", b"rmem_max": b"212992", b"wmem_max": b"212992"},
    b"net/ipv4": {
        b"ip_forward": b"0",
        b"tcp_fin_timeout": b"60",
        b"tcp_keepalive_intvl": b"75",
        b"tcp_keepalive_probes": b"9",
        b"tcp_keepalive_time": b"7200",
        b"tcp_max_syn_backlog": b"4096",
        b"tcp_syncookies": b"1",
        b"tcp_fastopen": b"1",
        b"tcp_tw_reuse": b"2",
        b"tcp_available_congestion_control": b"cubic reno",
        b"tcp_congestion_control": b"cubic",
        b"ip_default_ttl": b"64",
        b"ip_nonlocal_bind": b"0",
        b"tcp_rmem": b"4096\t131072\t6291456",
        b"tcp_wmem": b"4096\t16384\t4194304",
    },
    b"net/unix": {b"max_dgram_qlen": b"10"},
    b"user": {b"max_user_namespaces": b"0"},
}
