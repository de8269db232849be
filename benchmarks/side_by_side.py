"""neosocksd and microsocks on the same work, in turn, by the CPU time that each spends. Linux only.

::

    python benchmarks/side_by_side.py [ROUNDS]

The load comes from this program over loopback, so the time by the clock says nothing; the CPU time of the proxy alone does, and more
so its ratio to the other's in the same run.
"""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

CONNECTIONS = 3200
AT_A_TIME = 32
GIGABYTES = 2
SESSIONS = 500
CHUNK = bytes(1 << 20)
TICKS = os.sysconf("SC_CLK_TCK")

Work = Callable[[int, int], object]


def serve(port_of: list[int]) -> None:
    """The target. A client's first byte says what it wants: ``e`` an echo, ``s`` a gigabyte."""

    def talk(sock: socket.socket) -> None:
        with sock, suppress(OSError):
            wish = sock.recv(64)
            if wish.startswith(b"e"):
                sock.sendall(wish)
            for _ in range(1000 if wish.startswith(b"s") else 0):
                sock.sendall(CHUNK[:1_000_000])
            sock.recv(1)

    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
    port_of.append(listener.getsockname()[1])
    while True:
        threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()


def connect(proxy: int, target: int, wish: bytes, count: int = 1) -> list[socket.socket]:
    """Sessions through *proxy*, all at the same time, that have said their wish."""
    request = b"\x05\x01\x00\x01\x7f\x00\x00\x01" + target.to_bytes(2, "big")
    socks = [socket.create_connection(("127.0.0.1", proxy), timeout=30) for _ in range(count)]
    for message, answer in ((b"\x05\x01\x00", 2), (request, 10)):
        for sock in socks:
            sock.sendall(message)
        for sock in socks:
            if sock.recv(answer, socket.MSG_WAITALL)[:2] != b"\x05\x00":
                sys.exit("the proxy refuses")
    for sock in socks:
        sock.sendall(wish)
    return socks


def connections(proxy: int, target: int) -> None:
    for _ in range(CONNECTIONS // AT_A_TIME):
        for sock in connect(proxy, target, b"e" * 64, AT_A_TIME):
            sock.recv(64, socket.MSG_WAITALL)
            sock.close()


def gigabytes(proxy: int, target: int) -> None:
    buffer = bytearray(CHUNK)
    for _ in range(GIGABYTES):
        [sock] = connect(proxy, target, b"s")
        with sock:
            left = 1_000_000_000
            while left:
                left -= sock.recv_into(buffer) or sys.exit("the stream broke off")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def pss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def measure(command: Sequence[str], port: int, target: int) -> dict[str, float]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as proxy:  # noqa: S603
        try:
            wait_for(port, proxy)

            def spent(work: Work) -> float:
                before = cpu_seconds(proxy.pid)
                work(port, target)
                return cpu_seconds(proxy.pid) - before

            connections(port, target)  # once to warm up
            result = {
                "CPU µs per connection": spent(connections) / CONNECTIONS * 1e6,
                "CPU s per gigabyte": spent(gigabytes) / GIGABYTES,
            }
            before = pss_kib(proxy.pid)
            idle = connect(port, target, b"e", SESSIONS)
            result["KiB per idle session"] = (pss_kib(proxy.pid) - before) / SESSIONS
            for sock in idle:
                sock.close()
        finally:
            proxy.terminate()
    return result


def wait_for(port: int, proxy: "subprocess.Popen[bytes]") -> None:
    while True:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        try:
            sys.exit(f"{proxy.args!r} ended with {proxy.wait(0.05)}")
        except subprocess.TimeoutExpired:
            continue


def main(rounds: int) -> None:
    target: list[int] = []
    threading.Thread(target=serve, args=(target,), daemon=True).start()
    ours = str(Path(sys.executable).with_name("neosocksd"))
    microsocks = shutil.which("microsocks") or sys.exit("microsocks is not installed")
    commands = {
        "microsocks": (11080, [microsocks, "-i", "127.0.0.1", "-p", "11080"]),
        "neosocksd": (11081, [ours, "-l", "127.0.0.1:11081", "--loglevel", "2"]),
    }
    results: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, (port, command) in commands.items():
            results[name].append(measure(command, port, target[0]))
    for what in results["neosocksd"][0]:
        median = [statistics.median(run[what] for run in runs) for runs in results.values()]
        print(f"{what:24}", *(f"{n} {m:8.2f}  " for n, m in zip(results, median, strict=True)),
              f"ratio {median[1] / median[0]:.2f}" if median[0] else "")  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
