"""What a datagram costs by way of UDP ASSOCIATE: the server's CPU time for each that it relays, and how many come back a second. Linux only.

::

    python benchmarks/datagrams.py [ROUNDS]

The client, the server and the host that echoes share the machine, so the rate says little; the CPU time is the server's alone.
"""

import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

DATAGRAMS = 30_000
AT_A_TIME = 10
"""So many are under way at once: no socket's buffer runs over."""
SIZES = (64, 1200)
TICKS = os.sysconf("SC_CLK_TCK")


def echo(host: socket.socket) -> None:
    while True:
        data, sender = host.recvfrom(65535)
        host.sendto(data, sender)


def associate(proxy: int) -> tuple[socket.socket, tuple[str, int]]:
    """A connection with an association, and where its datagrams go."""
    control = socket.create_connection(("127.0.0.1", proxy), timeout=30)
    answer = b""
    for message, size in ((b"\x05\x01\x00", 2), (b"\x05\x03\x00\x01" + bytes(6), 10)):
        control.sendall(message)
        answer = control.recv(size)
        if answer[1:2] != b"\x00":
            sys.exit("the proxy refuses")
    return control, ("127.0.0.1", int.from_bytes(answer[8:], "big"))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measure(pid: int, proxy: int, host: int, size: int) -> tuple[float, float]:
    """Microseconds of CPU for each datagram relayed, either way, and echoes a second."""
    control, relay = associate(proxy)
    datagram = b"\x00\x00\x00\x01\x7f\x00\x00\x01" + host.to_bytes(2, "big") + bytes(size)
    with control, socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        used, started = cpu_seconds(pid), time.perf_counter()
        for _ in range(DATAGRAMS // AT_A_TIME):
            for _ in range(AT_A_TIME):
                client.sendto(datagram, relay)
            for _ in range(AT_A_TIME):
                client.recv(65535)
        seconds = time.perf_counter() - started
        return (cpu_seconds(pid) - used) / (2 * DATAGRAMS) * 1e6, DATAGRAMS / seconds


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    sys.exit("the server does not start")


def main(rounds: int) -> None:
    host = socket.socket(type=socket.SOCK_DGRAM)
    host.bind(("127.0.0.1", 0))
    threading.Thread(target=echo, args=(host,), daemon=True).start()
    proxy = free_port()
    command = [
        str(Path(sys.executable).with_name("neosocksd")),
        *("-l", f"127.0.0.1:{proxy}", "--enable-socks5-udp", "--loglevel", "2"),
    ]
    with subprocess.Popen(command) as server:  # noqa: S603 - our own command
        try:
            wait_for(proxy)
            print(f"{'median of ' + str(rounds):<14}{'CPU us/datagram':>18}{'echoes/s':>12}")
            for size in SIZES:
                found = [
                    measure(server.pid, proxy, host.getsockname()[1], size) for _ in range(rounds)
                ]
                cpu, rate = (statistics.median(column) for column in zip(*found, strict=True))
                print(f"{f'{size} bytes':<14}{cpu:>18.1f}{rate:>12.0f}")
        finally:
            server.terminate()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
