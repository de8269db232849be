"""What 200 requests a second for ``/stats`` cost a relay: the same traffic while another server is asked, and while the one that relays
is, in turn, so that the load of who asks is there both times. Linux only.

::

    python plugins/rest_api/benchmarks/beside_traffic.py [ROUNDS]

One session asks and is answered 64 bytes, 500 times a second, and one moves 100 MB a second down: fixed amounts, so that what changes
is how long an answer takes, how late the bytes come, and the CPU time of the server. A round takes ten seconds. Compare within one run.
"""

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import Process, Queue
from pathlib import Path

SECONDS = 5.0
REQUESTS = 200
ROUND_TRIPS = 500
PIECES = 100
PIECE = bytes(1_000_000)
TICKS = os.sysconf("SC_CLK_TCK")


def serve(listener: socket.socket) -> None:
    """The target: echoes small messages, and sends a piece for each byte that is ``p``."""
    children: list[Process] = []
    while True:
        sock, _ = listener.accept()
        children.append(Process(target=talk, args=(sock,), daemon=True))
        children[-1].start()
        sock.close()


def talk(sock: socket.socket) -> None:
    while data := sock.recv(64):
        sock.sendall(PIECE if data == b"p" else data)


def open_session(proxy: int, target: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", proxy), timeout=30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01" + target.to_bytes(2, "big"))
    answer = b""
    while len(answer) < 12:
        answer += sock.recv(12 - len(answer))
    if answer[2:4] != b"\x05\x00":
        sys.exit("the proxy refuses")
    return sock


def exchange(sock: socket.socket, message: bytes, size: int) -> float:
    """Send *message* and take an answer of *size* bytes; returns the seconds that it took."""
    started = time.perf_counter()
    sock.sendall(message)
    while size > 0:
        data = sock.recv(min(size, 1 << 18))
        if not data:
            raise ConnectionError("the session has ended")
        size -= len(data)
    return time.perf_counter() - started


def repeat(
    proxy: int, target: int, message: bytes, size: int, rate: int, out: "Queue[list[float]]"
) -> None:
    """Exchange *rate* times a second; puts the times into *out*."""
    with open_session(proxy, target) as sock:
        begin = time.perf_counter()
        times: list[float] = []
        for number in range(int(rate * SECONDS)):
            time.sleep(max(0.0, begin + number / rate - time.perf_counter()))
            times.append(exchange(sock, message, size))
        out.put(times)


def request(api: int, out: "Queue[int]") -> None:
    """Ask for the statistics, :data:`REQUESTS` times a second over one connection; puts the number of answers into *out*."""
    with socket.create_connection(("127.0.0.1", api), timeout=30) as sock:
        begin, answered = time.perf_counter(), 0
        while (wait := begin + answered / REQUESTS - time.perf_counter()) < SECONDS:
            if time.perf_counter() - begin >= SECONDS:
                break
            time.sleep(max(0.0, wait))
            sock.sendall(b"GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += sock.recv(65536)
            head, _, body = answer.partition(b"\r\n\r\n")
            left = int(head.lower().partition(b"content-length: ")[2].split()[0]) - len(body)
            while left > 0:
                left -= len(sock.recv(left))
            answered += answer.startswith(b"HTTP/1.1 200 ")
        out.put(answered)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measure(pid: int, proxy: int, target: int, api: int) -> list[float]:
    """Median and P99 of the round trips, and of the pieces, in microseconds, and the server's CPU share in percent."""
    small: Queue[list[float]] = Queue()
    large: Queue[list[float]] = Queue()
    answered: Queue[int] = Queue()
    load = [
        Process(target=repeat, args=(proxy, target, b"x" * 64, 64, ROUND_TRIPS, small)),
        Process(target=repeat, args=(proxy, target, b"p", len(PIECE), PIECES, large)),
        Process(target=request, args=(api, answered)),
    ]
    used, started = cpu_seconds(pid), time.perf_counter()
    for process in load:
        process.start()
    found = [sorted(queue.get(timeout=10 * SECONDS)) for queue in (small, large)]
    count = answered.get(timeout=10 * SECONDS)
    if count < 0.95 * REQUESTS * SECONDS:
        print(f"only {count / SECONDS:.0f} requests a second were answered")
    share = (cpu_seconds(pid) - used) / (time.perf_counter() - started) * 100
    for process in load:
        process.join()
    rows = [times[int(len(times) * q)] * 1e6 for times in found for q in (0.5, 0.99)]
    return [*rows, share]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def running_server(proxy: int, api: int) -> Generator[int]:
    """A server on these ports; gives its process id."""
    command = [
        str(Path(sys.executable).with_name("neosocksd")),
        *("-l", f"127.0.0.1:{proxy}", "--api", f"127.0.0.1:{api}", "--loglevel", "2"),
    ]
    with subprocess.Popen(command) as server:  # noqa: S603 - our own command
        try:
            wait_for(api)
            yield server.pid
        finally:
            server.terminate()


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
    listener = socket.create_server(("127.0.0.1", 0))
    target = Process(target=serve, args=(listener,))
    target.start()
    proxy, api, _, other = ports = [free_port() for _ in range(4)]
    results: dict[int, list[list[float]]] = {other: [], api: []}
    try:
        with running_server(*ports[:2]) as pid, running_server(*ports[2:]):
            for number in range(2 * rounds):
                # Which comes first takes turns, too.
                asked = (other, api)[(number + number // 2) % 2]
                results[asked].append(measure(pid, proxy, listener.getsockname()[1], asked))
    finally:
        target.terminate()
    names = ("round trip p50 us", "round trip p99 us", "1 MB p50 us", "1 MB p99 us", "CPU %")
    print(f"{'median of ' + str(rounds):<20}{'other asked':>14}{'relay asked':>14}")
    for column, name in enumerate(names):
        apart, beside = (
            statistics.median(row[column] for row in results[key]) for key in (other, api)
        )
        print(f"{name:<20}{apart:>14.1f}{beside:>14.1f}   ({beside / apart:.2f}x)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
