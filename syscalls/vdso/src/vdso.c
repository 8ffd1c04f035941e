/*
 * The code that the kernel lends to every program: clocks without a system call.
 *
 * One page of data, the vvar page, lies right before the first page of this image; the machine keeps it
 * (syscalls/vdso/__init__.py). Everything is found relative to the code, so the image has no relocation.
 * The image must fit in one page for that.
 */
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

struct vvar {
	volatile u32 seq;	/* odd while the machine writes */
	u32 mode;		/* 0: always make the system call */
	u64 tsc;		/* counter value that the times below belong to */
	u64 limit;		/* counter ticks for which they may be extrapolated */
	u32 mult, shift;	/* ns = ticks * mult >> shift */
	s64 mono_sec;
	s64 real_sec;
	u32 mono_nsec;
	u32 real_nsec;
};

#define COARSE (1 << 5 | 1 << 6)
#define COARSE_NSEC 4000000	/* as syscalls/handlers/time_.py */

struct timespec64 { s64 sec; s64 nsec; };
struct timespec32 { int sec; int nsec; };

#define CLOCK_REALTIME 0
#define CLOCK_MONOTONIC 1
#define CLOCK_MONOTONIC_RAW 4
#define CLOCK_REALTIME_COARSE 5
#define CLOCK_MONOTONIC_COARSE 6
#define CLOCK_BOOTTIME 7
#define MONOTONIC (1 << CLOCK_MONOTONIC | 1 << CLOCK_MONOTONIC_RAW | 1 << CLOCK_MONOTONIC_COARSE | 1 << CLOCK_BOOTTIME)
#define REALTIME (1 << CLOCK_REALTIME | 1 << CLOCK_REALTIME_COARSE)

#ifdef __x86_64__
#define NR_clock_gettime64 228
#define NR_clock_getres64 229
#define NR_gettimeofday 96
#define NR_time 201
#define NR_getcpu 309
typedef long word;

static inline long call3(long nr, long a, long b, long c)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "0"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return r;
}

static inline unsigned long here(void)
{
	unsigned long p;
	__asm__("lea 0(%%rip), %0" : "=r"(p));
	return p;
}
#else
#define NR_clock_gettime64 403
#define NR_clock_getres64 406
#define NR_clock_gettime32 265
#define NR_clock_getres32 266
#define NR_gettimeofday 78
#define NR_time 13
#define NR_getcpu 318
typedef int word;

static inline long call3(long nr, long a, long b, long c)
{
	long r;
	__asm__ volatile("int $0x80" : "=a"(r) : "0"(nr), "b"(a), "c"(b), "d"(c) : "memory");
	return r;
}

static inline unsigned long here(void)
{
	unsigned long p;
	__asm__("call 1f\n1:\tpop %0" : "=r"(p));
	return p;
}
#endif

static inline const struct vvar *vvar_page(void)
{
	return (const struct vvar *)((here() & -4096UL) - 4096);
}

static inline u64 counter(void)
{
	u32 lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}

/* Read a clock; 0 when only the system call can tell. */
static int read_clock(int clock, struct timespec64 *ts)
{
	const struct vvar *v = vvar_page();
	u32 seq;
	s64 sec;
	u64 nsec, ticks;

	if ((u32)clock > CLOCK_BOOTTIME || !((MONOTONIC | REALTIME) >> clock & 1))
		return 0;
	do {
		seq = v->seq;
		if (!v->mode)
			return 0;
		if (MONOTONIC >> clock & 1) {
			sec = v->mono_sec;
			nsec = v->mono_nsec;
		} else {
			sec = v->real_sec;
			nsec = v->real_nsec;
		}
		ticks = counter() - v->tsc;
		if (ticks > v->limit)
			return 0;
		nsec += ticks * v->mult >> v->shift;
	} while (seq & 1 || seq != v->seq);
	while (nsec >= 1000000000) {
		/* Keep the compiler from making a 64-bit division of it, which i386 would have to call. */
		__asm__("" : "+r"(sec));
		nsec -= 1000000000;
		sec++;
	}
	if (COARSE >> clock & 1)
		nsec -= (u32)nsec % COARSE_NSEC;
	ts->sec = sec;
	ts->nsec = nsec;
	return 1;
}

#ifdef __x86_64__
long __vdso_clock_gettime(int clock, struct timespec64 *ts)
#else
long __vdso_clock_gettime64(int clock, struct timespec64 *ts)
#endif
{
	if (read_clock(clock, ts))
		return 0;
	return call3(NR_clock_gettime64, clock, (long)ts, 0);
}

#ifndef __x86_64__
long __vdso_clock_gettime(int clock, struct timespec32 *ts)
{
	struct timespec64 t;

	if (read_clock(clock, &t)) {
		ts->sec = (int)t.sec;
		ts->nsec = (int)t.nsec;
		return 0;
	}
	return call3(NR_clock_gettime32, clock, (long)ts, 0);
}

long __vdso_clock_getres(int clock, struct timespec32 *ts)
{
	return call3(NR_clock_getres32, clock, (long)ts, 0);
}
#else
long __vdso_clock_getres(int clock, struct timespec64 *ts)
{
	return call3(NR_clock_getres64, clock, (long)ts, 0);
}
#endif

long __vdso_gettimeofday(word *tv, void *tz)
{
	struct timespec64 t;

	if (tv && !tz && read_clock(CLOCK_REALTIME, &t)) {
		tv[0] = (word)t.sec;
		tv[1] = (word)((u32)t.nsec / 1000);
		return 0;
	}
	return call3(NR_gettimeofday, (long)tv, (long)tz, 0);
}

word __vdso_time(word *where)
{
	struct timespec64 t;

	if (!read_clock(CLOCK_REALTIME, &t))
		return (word)call3(NR_time, (long)where, 0, 0);
	if (where)
		*where = (word)t.sec;
	return (word)t.sec;
}

long __vdso_getcpu(u32 *cpu, u32 *node, void *unused)
{
	/* The machine has one processor. */
	(void)unused;
	if (cpu)
		*cpu = 0;
	if (node)
		*node = 0;
	return 0;
}

#ifndef __x86_64__
/*
 * The entry to the system (AT_SYSINFO), and where a handler without a restorer returns to. Unwinders
 * recognise the last two by their exact bytes.
 */
__asm__(
	"	.globl __kernel_vsyscall, __kernel_sigreturn, __kernel_rt_sigreturn\n"
	"	.type __kernel_vsyscall, @function\n"
	"	.type __kernel_sigreturn, @function\n"
	"	.type __kernel_rt_sigreturn, @function\n"
	"	.text\n	.p2align 4\n"
	"__kernel_vsyscall:\n	int $0x80\n	ret\n"
	"	.size __kernel_vsyscall, . - __kernel_vsyscall\n"
	"	.p2align 4\n	nop\n"
	"__kernel_sigreturn:\n	.byte 0x58, 0xb8, 119, 0, 0, 0, 0xcd, 0x80\n"
	"	.size __kernel_sigreturn, . - __kernel_sigreturn\n"
	"	.p2align 4\n	nop\n"
	"__kernel_rt_sigreturn:\n	.byte 0xb8, 173, 0, 0, 0, 0xcd, 0x80\n"
	"	.size __kernel_rt_sigreturn, . - __kernel_rt_sigreturn\n");
#endif

#ifdef __x86_64__
#define ALIAS(name) extern __typeof(__vdso_##name) name __attribute__((weak, alias("__vdso_" #name)))
ALIAS(clock_gettime);
ALIAS(clock_getres);
ALIAS(gettimeofday);
ALIAS(time);
ALIAS(getcpu);
#endif
