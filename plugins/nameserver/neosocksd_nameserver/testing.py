"""A name server for tests: it runs in a thread and answers as the test says."""

import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from selectors import EVENT_READ, DefaultSelector
from types import TracebackType
from typing import Self

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Handler = Callable[[dns.message.Message, bool], Iterable[bytes]]
"""Takes a question, and whether it came over TCP; answers with the messages to send back."""

PATIENCE = 10.0
"""Seconds that a TCP client is waited for; nobody else is served meanwhile."""


def _bind_both() -> tuple[socket.socket, socket.socket]:
    """A listener and a datagram socket on one port of loopback."""
    while True:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
        else:
            return tcp, udp


class DnsServer:
    """One port, UDP and TCP, in a thread. ``asked`` holds the questions in the order in which they came."""

    def __init__(self, handle: Handler) -> None:
        self.handle = handle
        self.asked: list[tuple[str, str, bool]] = []
        self._tcp, self._udp = _bind_both()
        self._wake, self._woken = socket.socketpair()
        self._selector = DefaultSelector()
        for one in (self._udp, self._tcp, self._woken):
            self._selector.register(one, EVENT_READ)
        self._thread = threading.Thread(target=self._run)

    @property
    def address(self) -> str:
        """Where it is asked, as the setting ``nameserver`` has it."""
        host, port = self._udp.getsockname()
        return f"{host}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._wake.close()
        self._thread.join()
        for one in (self._selector, self._udp, self._tcp, self._woken):
            one.close()

    def _run(self) -> None:
        while True:
            ready = {key.fileobj for key, _ in self._selector.select()}
            if self._woken in ready:
                return
            if self._udp in ready:
                data, peer = self._udp.recvfrom(65535)
                for answer in self._answers(data, tcp=False):
                    self._udp.sendto(answer, peer)
            if self._tcp in ready:
                client, _ = self._tcp.accept()
                client.settimeout(PATIENCE)
                # A client may leave at any time, and be done with its question or not.
                with client, suppress(OSError), client.makefile("rb") as stream:
                    size = int.from_bytes(stream.read(2), "big")
                    data = stream.read(size)
                    if len(data) < size:
                        continue
                    for answer in self._answers(data, tcp=True):
                        client.sendall(len(answer).to_bytes(2, "big") + answer)

    def _answers(self, data: bytes, *, tcp: bool) -> Iterable[bytes]:
        try:
            query = dns.message.from_wire(data)
            question = query.question[0]
        except (dns.exception.DNSException, IndexError):
            return ()  # what is no question is passed over
        name = question.name.to_text(omit_final_dot=True)
        self.asked.append((name, dns.rdatatype.to_text(question.rdtype), tcp))
        return self.handle(query, tcp)


def reply(query: dns.message.Message, *records: str, rcode: int = 0, flags: int = 0) -> bytes:
    """An answer to *query*; *records* as ``"NAME TTL TYPE VALUE"``.

    Those of another type than asked are left out, but for CNAMEs, and for a SOA, which stands for the authority.
    """
    message = dns.message.make_response(query)
    message.set_rcode(dns.rcode.Rcode(rcode))
    message.flags |= flags
    asked = dns.rdatatype.to_text(query.question[0].rdtype)
    for record in records:
        name, ttl, kind, value = record.split(maxsplit=3)
        if kind == "CNAME":
            value += "."
        if kind in (asked, "CNAME", "SOA"):
            section = message.authority if kind == "SOA" else message.answer
            section.append(dns.rrset.from_text(name + ".", int(ttl), "IN", kind, value))
    return message.to_wire()


def zone(*records: str) -> Handler:
    """Answers every question from *records*, as for :func:`reply`."""
    return lambda query, tcp: [reply(query, *records)]
