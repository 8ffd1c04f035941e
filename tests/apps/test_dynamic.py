"""The host's own dynamic programs give their native output and status, and change nothing."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.harness import execute, lxemu, lxemu_env

pytestmark = pytest.mark.native("x86_64")

BASH_ARRAYS = """
a=(one two "three four"); a+=(five); declare -A m=([x]=1 [y]=2)
echo "${#a[@]} ${a[2]} ${!a[*]} ${a[@]:1:2}"; for k in $(printf '%s\\n' "${!m[@]}" | sort); do
echo "$k=${m[$k]}"; done; [[ abc =~ ^a(.)c$ ]] && echo "${BASH_REMATCH[1]}"; printf -v s '%03d' 7
echo "$s ${s/0/x} ${a[0]^^} $((16#ff))"
"""
BASH_PIPES = """
set -o pipefail; seq 10 | grep -v 5 | sort -rn | head -3; false | true; echo "$? ${PIPESTATUS[*]}"
diff <(seq 3) <(seq 2 4); echo $?; cat <<<"here string"; while read -r x; do echo "<$x>"; done < <(seq 2)
exec 5<>fifo-less; echo hi >&5; cat fifo-less; coproc tr a-z A-Z; echo word >&"${COPROC[1]}"
exec {COPROC[1]}>&-; cat <&"${COPROC[0]}"; wait; trap 'echo exit trap' EXIT; (exit 5); echo $?
"""
DASH = 'for i in 1 2 3; do echo $i; done | while read x; do echo "got $x"; done; kill -9 $$'
PERL = r"""
my %h = map { $_ => length } qw(a bb ccc); print join(",", map { "$_=$h{$_}" } sort keys %h), "\n";
my $p = fork; if (!$p) { exit 3 } waitpid $p, 0; print $? >> 8, "\n";
open my $f, ">", "t" or die; print $f "x\ny\n"; close $f; print -s "t", "\n"; print `cat t`;
$SIG{ALRM} = sub { print "alarm\n" }; alarm 1; select undef, undef, undef, 5; printf "%.6f\n", atan2 1, 1;
"""
PY_JSON = "import json;print(json.dumps({'a':[1,2.5,None],'é':'x'},sort_keys=True));print(2**100)"
PY_THREADS = """
import threading
lock, total = threading.Lock(), 0
def work(n):
    global total
    for _ in range(1000):
        with lock: total += n
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]; print(total)
"""
PY_SUBPROCESS = """
import subprocess, sys, os, tempfile, signal, hashlib
print(subprocess.run(['sh', '-c', 'echo out; echo err >&2; exit 4'], capture_output=True))
p = subprocess.Popen(['sleep', '100']); p.terminate(); print(p.wait())
print(subprocess.check_output(['cat'], input=b'through cat'))
with tempfile.TemporaryDirectory() as d:
    open(os.path.join(d, 'f'), 'w').write('x' * 100000); print(os.stat(os.path.join(d, 'f')).st_size)
print(hashlib.sha256(b'x' * 1000000).hexdigest(), flush=True); signal.raise_signal(signal.SIGTERM)
"""
PY_ASYNCIO = """
import asyncio
async def handle(r, w):
    while data := await r.read(1000): w.write(data.upper()); await w.drain()
    w.close()
async def client(n):
    r, w = await asyncio.open_unix_connection('s'); w.write(b'hello %d' % n); w.write_eof()
    return await r.read()
async def main():
    server = await asyncio.start_unix_server(handle, 's')
    print(await asyncio.gather(*[client(n) for n in range(20)])); server.close()
    p = await asyncio.create_subprocess_exec('cat', stdin=-1, stdout=-1)
    print(await p.communicate(b'through cat'), p.returncode)
asyncio.run(main())
"""
PY_MULTIPROCESSING = """
import multiprocessing as mp
def double(c):
    while (x := c.recv()) is not None: c.send(x * 2)
if __name__ == '__main__':
    a, b = mp.Pipe(); p = mp.Process(target=double, args=(b,)); p.start()
    a.send(21); print(a.recv()); a.send('ab' * 1000); print(len(a.recv())); a.send(None); p.join()
    q = mp.Queue(); p = mp.Process(target=q.put, args=([1, 'two'],)); p.start(); print(q.get()); p.join()
"""
GIT = """
git init -q r && cd r && git config user.email a@b && git config user.name n && echo text > f
git add f && GIT_AUTHOR_DATE='1000000000 +0000' GIT_COMMITTER_DATE='1000000000 +0000' git commit -q -m first && git log --format='%H %s'
git status --short; echo more >> f; git diff --stat | cat; git branch -a; git cat-file -p HEAD^{tree}
"""
GCC = r"""
printf '#include <stdio.h>\nint main(void){printf("compiled %%d\\n", 6*7);return 3;}\n' > hello.c
gcc -O1 -o hello hello.c && ./hello; echo $?; test -x hello && echo executable
"""
MAKE = r"""
printf 'all: b\n\t@echo done\nb: a\n\tcp a b\na:\n\techo x > a\n' > Makefile; make; make; make -j2 all; make none
"""

CASES: dict[str, list[str]] = {
    "ls": ["ls", "-l", "/usr/lib/os-release", "/etc/hostname", "/bin"],
    "ls_columns": ["ls", "-la", "--color=never", "/usr/share/doc"],
    "cat": ["cat", "/etc/passwd", "/etc/os-release"],
    "cat_missing": ["cat", "/none"],
    "dash": ["dash", "-c", DASH],
    "bash_arrays": ["bash", "-c", BASH_ARRAYS],
    "bash_pipes": ["bash", "-c", BASH_PIPES],
    "sort": ["bash", "-c", "seq 1 20000 | sort -R --random-source=/etc/passwd | sort -n | md5sum"],
    "tar": ["bash", "-c", "mkdir d; seq 1000 > d/f; mkdir e; tar cf - d | tar xvf - -C e; md5sum e/d/f"],
    "tar_gzip": ["bash", "-c", "mkdir d; seq 9000 > d/f; tar czf t.tgz d; tar tzf t.tgz; gzip -t t.tgz"],
    "sha256sum": ["sha256sum", "/bin/bash", "/etc/passwd"],
    "perl": ["perl", "-e", PERL],
    "python_json": ["python3", "-c", PY_JSON],
    "python_threads": ["python3", "-c", PY_THREADS],
    "python_subprocess": ["python3", "-c", PY_SUBPROCESS],
    "python_asyncio_unix": ["python3", "-c", PY_ASYNCIO],
    "python_multiprocessing": ["python3", "-c", PY_MULTIPROCESSING],
    "awk": ["awk", "-F:", "{ n[$7]++ } END { for (s in n) print n[s], s | \"sort\" }", "/etc/passwd"],
    "make_version": ["make", "--version"],
    "make": ["sh", "-c", MAKE],
    "git": ["sh", "-c", GIT],
    "gcc": ["sh", "-c", GCC],
    "find": ["find", "/usr/share/doc/bash", "-type", "f", "-printf", "%s %p\n"],
    "sed": ["sed", "-n", "s/:.*//p", "/etc/passwd"],
    "grep": ["grep", "-c", "", "/etc/passwd", "/etc/group"],
    "env": ["env"],
    "id": ["id"],
    "uname": ["uname", "-sm"],
    "dd": ["bash", "-c", "dd if=/dev/zero bs=64k count=16 2>/dev/null | md5sum"],
    "xargs": ["bash", "-c", "seq 20 | xargs -n 3 -P 1 echo"],
    "stat": ["stat", "-c", "%A %h %U %G %s %n", "/etc/passwd", "/bin", "/etc"],
    "date": ["date", "-u", "-d", "@86400"],
    "false": ["false"],
    "killed": ["sh", "-c", "kill -SEGV $$"],
}  # fmt: skip

#: Programs that a host may lack, and the real file behind a wrapper that is no program of the host's.
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
ENV = {"PATH": SYSTEM_PATH, "HOME": "/", "LC_ALL": "C", "TZ": "UTC", "GIT_CONFIG_NOSYSTEM": "1"}


def needs(name: str) -> str:
    """Return the program that a case is about."""
    first = name.split("_")[0]
    return {"python": "python3", "killed": "sh", "tar": "tar"}.get(first, first)


@pytest.mark.parametrize("name", CASES)
def test_program_behaves_as_natively(name: str, tmp_path: Path):
    if shutil.which(needs(name), path=SYSTEM_PATH) is None:
        pytest.skip(f"this host has no {needs(name)}")
    command = CASES[name]
    directory = tmp_path / "here"
    directory.mkdir()
    guest = execute(lxemu("run", "--", *command), directory, env=lxemu_env(ENV) | ENV, timeout=240)
    assert not any(directory.iterdir()), "the private layer leaked to the host"
    program = shutil.which(command[0], path=SYSTEM_PATH)
    assert program is not None
    host = execute([command[0], *command[1:]], directory, env=lxemu_env(ENV) | ENV, timeout=60)

    assert host.text() == guest.text(), guest.stderr.decode(errors="replace")
    assert without_pids(host.stderr) == without_pids(guest.stderr)


def without_pids(text: bytes) -> bytes:
    """Blank numbers that a shell puts into its messages (process ids)."""
    return re.sub(rb"\b\d{2,}\b", b"N", text)


def snapshot(root: Path) -> dict[str, tuple[int, int, int, int]]:
    """Return what lstat tells of every file below *root*."""
    out = {}
    for path in sorted(root.rglob("*")):
        st = path.lstat()
        out[str(path)] = (st.st_ino, st.st_mode, st.st_size, st.st_mtime_ns)
    return out


def test_writes_everywhere_leave_the_host_unchanged(tmp_path: Path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("host\n")
    (tmp_path / "link").symlink_to("d/f")
    before = snapshot(tmp_path)
    script = """
    echo guest > d/f; echo more >> link; rm link; mv d e; mkdir -p e/x; chmod 000 e; ln e/f hard
    touch -d @0 hard; rm -rf e; : > new; truncate -s 5 hard; echo "$(cat hard | wc -c)"; ls
    """
    outcome = execute(lxemu("run", "--", "sh", "-c", script), tmp_path, env=lxemu_env())

    assert outcome == (0, b"5\nhard\nnew\n", b"")
    assert before == snapshot(tmp_path)
    assert (tmp_path / "d" / "f").read_text() == "host\n"


def test_volume_is_really_written(tmp_path: Path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "read").mkdir()
    (tmp_path / "read" / "f").write_text("kept\n")
    script = (
        "cat /ro/f; echo written > /rw/g; mkdir /rw/d; echo x > /ro/f; echo $?; rm /ro/f; ls /rw"
    )
    volumes = ["-v", f"{tmp_path}/shared:/rw", "-v", f"{tmp_path}/read:/ro:ro"]
    outcome = execute(lxemu("run", *volumes, "--", "sh", "-c", script), tmp_path, env=lxemu_env())

    assert b"kept\n2\nd\ng\n" == outcome.stdout
    assert outcome.stderr.count(b"Read-only file system") == 2
    assert (tmp_path / "shared" / "g").read_text() == "written\n"
    assert (tmp_path / "shared" / "d").is_dir()
    assert (tmp_path / "read" / "f").read_text() == "kept\n"
