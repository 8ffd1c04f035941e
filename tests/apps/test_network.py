"""Servers and clients of the host's distribution inside one guest, over its own loopback.

What they print is known, so nothing is compared with a native run, whose ports others may use.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.harness import busybox, execute, lxemu, lxemu_env

pytestmark = pytest.mark.native("x86_64")

PYTHON = "/usr/bin/python3"
#: Wait until a port (in hex) listens.
LISTENS = """
listens() { n=0; while ! grep -q ":$1 00000000:0000 0A" /proc/net/tcp; do
  n=$((n+1)); [ $n -lt 300 ] || exit 99; sleep 0.1; done; }
"""
HTTP = """
/usr/bin/python3 -S -m http.server --bind 127.0.0.1 8000 2>/dev/null >&2 &
listens 1F40
"$BUSYBOX" wget -q -O - http://127.0.0.1:8000/page.html
/usr/bin/python3 -S -c 'import urllib.request as u; print(len(u.urlopen("http://localhost:8000/large").read()))'
kill $!
"""
ECHO = """
import asyncio
async def handle(reader, writer):
    while data := await reader.read(4096):
        writer.write(data); await writer.drain()
    writer.close()
async def client(port, i):
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    for n in range(2):
        message = b'%d-%d\\n' % (i, n); writer.write(message)
        assert await reader.readexactly(len(message)) == message
    writer.write_eof(); assert await reader.read() == b''
    writer.close(); await writer.wait_closed(); return 1
async def main():
    server = await asyncio.start_server(handle, '127.0.0.1', 0, backlog=256)
    port = server.sockets[0].getsockname()[1]
    print(sum(await asyncio.gather(*(client(port, i) for i in range(200)))))
asyncio.run(main())
"""
REDIS = """
redis-server --port 6399 --save '' --daemonize no >/dev/null 2>&1 &
listens 18FF
redis-cli -p 6399 set key value; redis-cli -p 6399 get key
redis-cli -p 6399 eval 'return #ARGV' 0 a b c
redis-benchmark -p 6399 -n 1000 -c 20 -t get,set --csv | cut -d, -f1
redis-cli -p 6399 shutdown nosave; wait
"""
NGINX_CONF = """
worker_processes 2; pid nginx.pid; error_log error.log; events { worker_connections 64; }
http { access_log off; server { listen 8088; root .; sendfile on; tcp_nopush on; location / { } } }
"""
NGINX = """
nginx -p $PWD -e error.log -c nginx.conf; listens 1F98
curl -sS http://127.0.0.1:8088/page.html; curl -sS http://localhost:8088/large | wc -c
curl -sS -r 5-9 http://127.0.0.1:8088/page.html; echo
for i in 1 2 3 4 5; do
  curl -sS -o /dev/null -w '%{http_code} ' http://127.0.0.1:8088/page.html
done
curl -sS -o /dev/null -w '%{http_code}\\n' http://127.0.0.1:8088/none
nginx -p $PWD -e error.log -c nginx.conf -s quit
"""


def needs(*programs: str) -> None:
    """Skip unless every program is there."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def shell(script: str, cwd: Path, *options: str) -> str:
    """Run a script in the guest and return what it prints, standard error last."""
    env = lxemu_env()
    env["BUSYBOX"] = str(busybox("x86_64") or "")
    command = lxemu("run", *options, "/bin/sh", "-c", LISTENS + script)
    outcome = execute(command, cwd, env=env, timeout=110)
    return (outcome.stdout + outcome.stderr).decode(errors="replace")


@pytest.fixture
def site(tmp_path):
    (tmp_path / "page.html").write_text("a small page\n")
    (tmp_path / "large").write_bytes(bytes(range(256)) * 8000)
    (tmp_path / "nginx.conf").write_text(NGINX_CONF)
    return tmp_path


@pytest.mark.busybox("x86_64")
def test_http_server_of_python(site):
    needs(PYTHON)

    assert shell(HTTP, site) == "a small page\n2048000\n"


def test_asyncio_with_200_connections(tmp_path):
    needs(PYTHON)
    (tmp_path / "echo.py").write_text(ECHO)
    outcome = execute(lxemu("run", PYTHON, "-S", "echo.py"), tmp_path, env=lxemu_env(), timeout=110)

    assert outcome.text() == "200\nstatus 0\n", outcome.stderr.decode()


def test_redis(tmp_path):
    needs("redis-server", "redis-cli", "redis-benchmark")

    assert shell(REDIS, tmp_path) == 'OK\nvalue\n3\n"test"\n"SET"\n"GET"\n'


def test_nginx_and_curl(site):
    needs("nginx", "curl")
    # Without a user directive the workers are nobody, who has to get into the directory.
    for directory in (site, *site.parents):
        if not directory.stat().st_mode & 0o001:
            directory.chmod(0o755)

    assert shell(NGINX, site) == "a small page\n2048000\nll pa\n200 200 200 200 200 404\n"


def fetch(port: int, seconds: float) -> bytes:
    """Fetch a page of the guest from the host, once it listens."""
    end = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as sock:
                sock.sendall(b"GET /page.html HTTP/1.0\r\n\r\n")
                answer = b""
                while part := sock.recv(65536):
                    answer += part
                return answer
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def test_guest_is_reached_from_the_host(site):
    needs(PYTHON)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    publish = f"127.0.0.1:{port}:8000"
    command = lxemu("run", "-p", publish, PYTHON, "-S", "-m", "http.server", "8000")
    with subprocess.Popen(
        command, cwd=site, env=lxemu_env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            answer = fetch(port, 60)
        finally:
            process.terminate()

    assert answer.startswith(b"HTTP/1.0 200 OK")
    assert answer.endswith(b"\r\n\r\na small page\n")


@pytest.mark.busybox("x86_64")
def test_host_is_reached_from_the_guest_only_if_allowed(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=os.fspath(site))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/page.html"
        allowed = shell(f'"$BUSYBOX" wget -q -O - {url}', site, "--net", "host")
        refused = shell(f'"$BUSYBOX" wget -q -O - {url}', site)
        server.shutdown()

    assert allowed == "a small page\n"
    assert "Connection refused" in refused


def test_port_that_is_taken_is_one_clear_line(tmp_path):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as busy:
        port = busy.getsockname()[1]
        command = lxemu("run", "-p", f"127.0.0.1:{port}:80", "/bin/true")
        outcome = execute(command, tmp_path, env=lxemu_env())

    assert outcome.status == 2
    assert outcome.stderr.decode() == (
        f"lxemu: cannot publish 127.0.0.1:{port}/tcp: address already in use\n"
    )


def test_copying_to_a_file_of_the_host_begins_at_its_position(site):
    """Debian's cat uses copy_file_range, which has to respect the position that the host keeps."""
    needs("cat")
    script = "echo before; cat page.html; echo after"
    with (site / "out").open("wb") as out:
        command = lxemu("run", "/bin/sh", "-c", script)
        subprocess.run(command, cwd=site, env=lxemu_env(), stdout=out, check=True, timeout=60)

    assert (site / "out").read_text() == "before\na small page\nafter\n"
