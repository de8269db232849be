"""A resolver by dnspython: one server, both families at once, the answers' own time to live.

What it leaves to others: caching (the core caches for as long as the answer says), IP literals (the core never asks for
them), and judging what a name resolves to. The hosts file is not consulted, search domains are not appended.
"""

import errno
from collections.abc import Callable
from itertools import islice, zip_longest
from socket import AddressFamily
from typing import Any, cast

import anyio
import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.rdatatype
import dns.rdtypes.ANY.SOA
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.resolver

from neosocksd_core import DialError, Reason, Resolution
from neosocksd_nameserver.backend import current_backend
from neosocksd_nameserver.config import NameserverSettings, parse_nameserver

ADDRESS_LIMIT = 16
"""How many addresses of each family are taken from an answer, however many it holds."""

RESOLUTION_DELAY = 0.2
"""Seconds that the slower family is waited for once the other has addresses (RFC 8305 section 3 says 50 ms,
for a resolver near by)."""

# dnspython imports these at the first answer, and takes a failure, as for want of descriptors, for an unknown type for ever.
_PRELOADED = (dns.rdtypes.IN.A.A, dns.rdtypes.IN.AAAA.AAAA, dns.rdtypes.ANY.SOA.SOA)

_TRY = 2.0
"""Seconds for one question before it is asked again."""

_LOOPBACK = {
    AddressFamily.AF_INET: ("127.0.0.1",),
    AddressFamily.AF_INET6: ("::1",),
    AddressFamily.AF_UNSPEC: ("::1", "127.0.0.1"),
}
_TYPES = {
    AddressFamily.AF_INET: (dns.rdatatype.A,),
    AddressFamily.AF_INET6: (dns.rdatatype.AAAA,),
    AddressFamily.AF_UNSPEC: (dns.rdatatype.AAAA, dns.rdatatype.A),
}
_OUT_OF_RESOURCES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class DnsResolver:
    """Asks the name server of the settings in force; one object serves all lookups of a server."""

    def __init__(self, settings: Callable[[], NameserverSettings]) -> None:
        self._settings = settings
        self._section = settings()
        self._client = _make_client(self._section)

    async def resolve(self, host: str, family: AddressFamily) -> Resolution:
        """Look *host* up: AAAA and A side by side for AF_UNSPEC, their addresses taking turns, IPv6 first.

        Names under ``localhost`` are the loopback addresses without a question (RFC 6761 section 6.3).

        A name that has no addresses is no error here, for how long that may be believed is an answer.

        :raises DialError: NAME_NOT_RESOLVED where it is not known in time, GENERAL_FAILURE where this process
            has no descriptor or memory left for the question.
        """
        if f".{host.lower().removesuffix('.')}".endswith(".localhost"):
            return Resolution(_LOOPBACK[family])
        client = self._current_client()
        answers: dict[dns.rdatatype.RdataType, Resolution] = {}
        failures: list[DialError] = []

        async def ask(kind: dns.rdatatype.RdataType) -> None:
            try:
                answers[kind] = await _query(client, host, kind)
            except DialError as error:
                failures.append(error)
                return
            if answers[kind].addresses:
                deadline = anyio.current_time() + RESOLUTION_DELAY
                scope.deadline = min(scope.deadline, deadline)

        with anyio.move_on_after(client.lifetime) as scope:
            async with anyio.create_task_group() as tasks:
                for kind in _TYPES[family]:
                    tasks.start_soon(ask, kind)
        if not failures and len(answers) < len(_TYPES[family]):
            failures.append(DialError(Reason.NAME_NOT_RESOLVED, f"{host}: no answer in time"))
        return _combine([answers[kind] for kind in _TYPES[family] if kind in answers], failures)

    def _current_client(self) -> dns.asyncresolver.Resolver:
        """The client for the settings in force; where a reload has left no address the one before stays."""
        section = self._settings()
        if section is not self._section:
            self._section = section
            if section.address:
                self._client = _make_client(section)
        return self._client


def _make_client(section: NameserverSettings) -> dns.asyncresolver.Resolver:
    address = parse_nameserver(section.address)
    client = dns.asyncresolver.Resolver(configure=False)
    client.nameservers = [address.host]
    client.port = address.port
    client.timeout = min(_TRY, section.timeout)
    client.lifetime = section.timeout
    return client


async def _query(
    client: dns.asyncresolver.Resolver, host: str, kind: dns.rdatatype.RdataType
) -> Resolution:
    """One question; no address of that family, or no such name, is an answer without addresses."""
    try:
        answer = await client.resolve(
            host,
            kind,
            raise_on_no_answer=False,
            search=False,
            backend=current_backend(),
        )
    except dns.resolver.NXDOMAIN as error:
        responses: dict[dns.name.Name, dns.message.QueryMessage] = cast(Any, error).responses()
        return Resolution((), min(map(_negative_ttl, responses.values()), default=0.0))
    except dns.exception.DNSException as error:
        raise _translate(host, error) from None
    except OSError as error:
        raise DialError(_reason(error), f"{host}: {error}") from None
    addresses = [record.to_text() for record in islice(answer.rrset or (), ADDRESS_LIMIT)]
    if not addresses:
        return Resolution((), _negative_ttl(answer.response))
    return Resolution(tuple(addresses), float(answer.chaining_result.minimum_ttl))


def _negative_ttl(response: dns.message.QueryMessage) -> float:
    """For how many seconds a name is known not to be, or to have no such address: not at all unless a SOA tells (RFC 2308 section 5)."""
    if any(records.rdtype == dns.rdatatype.SOA for records in response.authority):
        return float(response.resolve_chaining().minimum_ttl)
    return 0.0


def _translate(host: str, error: dns.exception.DNSException) -> DialError:
    """What dnspython raises when it has given up holds the errors of the attempts."""
    reason = Reason.NAME_NOT_RESOLVED
    causes: list[str] = []
    attempts: list[tuple[str, bool, int, object, object]] = cast(Any, error).kwargs.get(
        "errors", []
    )
    for _, _, _, cause, _ in attempts:
        causes.append(str(cause) or type(cause).__name__)
        if isinstance(cause, OSError):
            reason = _reason(cause)
    return DialError(reason, f"{host}: {'; '.join(causes[-3:]) or type(error).__name__}")


def _reason(error: OSError) -> Reason:
    return Reason.GENERAL_FAILURE if error.errno in _OUT_OF_RESOURCES else Reason.NAME_NOT_RESOLVED


def _combine(answers: list[Resolution], failures: list[DialError]) -> Resolution:
    found = [answer for answer in answers if answer.addresses]
    if found:
        turns = zip_longest(*(answer.addresses for answer in found))
        addresses = tuple(address for turn in turns for address in turn if address is not None)
        return Resolution(addresses, min(answer.ttl or 0.0 for answer in found))
    for failure in sorted(failures, key=lambda failure: failure.reason is Reason.NAME_NOT_RESOLVED):
        raise failure
    return Resolution((), min(answer.ttl or 0.0 for answer in answers))
