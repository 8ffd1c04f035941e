"""What container tools do inside the guest: namespaces by unshare(1), cgroups, host directories."""

from __future__ import annotations

import os
import shutil
import stat

import pytest

from tests.harness import execute, lxemu, lxemu_env

pytestmark = [
    pytest.mark.native("x86_64"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare"),
]

OWN_WORLD = """
echo "pid $$, uid $(id -u)"; ls -d /proc/[0-9]* | head -1; hostname inside; hostname
mount -t tmpfs x /mnt; echo data > /mnt/f; cat /mnt/f; mkdir /mnt/new /mnt/new/old
mount --bind / /mnt/new; pivot_root /mnt/new /mnt/new/mnt && cd / && test -d /mnt/mnt && echo moved
sleep 100 & echo "child $!"
"""
CGROUP = """
cd /sys/fs/cgroup; echo "+pids +memory" > cgroup.subtree_control; mkdir a; echo 2 > a/pids.max
echo $$ > a/cgroup.procs; cat /proc/self/cgroup
sh -c "sleep 0 & exit 0" 2> /tmp/said; echo "fork $?"
cat a/pids.events; echo 20 > a/pids.max; echo 16M > a/memory.max
bash -c 'x=$(head -c 40000000 /dev/zero | tr "\\0" x); echo ${#x}'; echo "status $?"
grep -w oom_kill a/memory.events; echo $$ > cgroup.procs; rmdir a && echo gone
"""


def guest(script, tmp_path, *options):
    command = lxemu("run", "-u", "0:0", *options, "--", "/bin/bash", "-c", script)
    return execute(command, tmp_path, env=lxemu_env())


def test_unshare_gives_a_world_of_its_own(tmp_path):
    script = f"unshare -Urmupif --mount-proc bash -c '{OWN_WORLD}'; hostname"
    outcome = guest(script, tmp_path, "--hostname", "outside")
    lines = outcome.stdout.decode().splitlines()
    assert lines[:5] == ["pid 1, uid 0", "/proc/1", "inside", "data", "moved"], outcome
    assert lines[5].startswith("child ")
    # The child has ended with the first process of its namespace.
    assert (lines[6:], outcome.status) == (["outside"], 0)


def test_limits_of_a_cgroup_hold(tmp_path):
    outcome = guest(CGROUP, tmp_path)
    lines = outcome.stdout.decode().splitlines()
    assert lines[:3] == ["0::/a", "fork 2", "max 1"], outcome
    assert "40000000" not in lines
    assert int(next(line for line in lines if line.startswith("oom_kill")).split()[1]) >= 1
    assert lines[-1] == "gone"


def test_owners_and_devices_on_a_host_directory_outlive_the_machine(tmp_path):
    (tmp_path / "tree").mkdir()
    volume = ("-v", f"{tmp_path / 'tree'}:/h:index")
    make = "cd /h; touch f; chown 33:44 f; chmod 4750 f; mknod n c 1 3; mkdir -m 700 d"
    assert guest(make, tmp_path, *volume).status == 0
    shown = guest("cd /h; stat -c '%n %A %u:%g %t,%T' *; echo lost > n", tmp_path, *volume)

    assert shown.stdout.decode().splitlines() == [
        "d drwx------ 0:0 0,0",
        "f -rwsr-x--- 33:44 0,0",
        "n crw-r--r-- 0:0 1,3",
    ]
    on_host = (tmp_path / "tree" / "f").stat()
    assert (stat.S_IMODE(on_host.st_mode), on_host.st_uid) == (0o750, os.geteuid())
    assert (tmp_path / "tree" / "n").read_bytes() == b""
