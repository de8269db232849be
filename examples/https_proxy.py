"""A plugin in one file with an outbound scheme of its own: ``https://``, a proxy that is asked over TLS.

::

    neosocksd --plugin ./examples/https_proxy.py -x https://user:password@proxy.example.org
    neosocksd --plugin ./examples/https_proxy.py -x https://127.0.0.1:8443 --https-proxy-ca ./ca.pem

The machines own no socket, and so neither does TLS here: :class:`ssl.SSLObject` between two :class:`ssl.MemoryBIO` is a machine, too.
One of these makes the handshake with the proxy (TLS first, then CONNECT, RFC 9110 section 9.3.6), and then stands in the relay as a filter.
"""

import base64
import ssl
from collections.abc import Mapping

from pydantic import Field

from neosocksd_core import (
    Address,
    ConfigurationError,
    Dialer,
    DialError,
    Filter,
    FilterState,
    Hop,
    Reason,
    Section,
    ServerContext,
    hookimpl,
)

LONGEST_REPLY = 16384
READ_SIZE = 65536


class HttpsProxySettings(Section):
    """Whom to trust."""

    ca: str = Field("", description="file with the certificates to trust instead of the system's")


class TlsFilter:
    """Encrypts what goes to the proxy, and decrypts what comes from it."""

    def __init__(self, context: ssl.SSLContext, server_name: str) -> None:
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._to_send, server_hostname=server_name)
        self._is_secure = False
        self._decrypted = b""
        self._waiting = b""
        """What is to be encrypted once the handshake of TLS is done."""
        self.client_ended = False
        self.upstream_ended = False
        self.state = FilterState.RELAY
        self.failure: DialError | None = None
        self._step()

    def from_client(self, data: bytes) -> None:
        self._waiting += data
        self._step()
        if not data:
            self._say_goodbye()
            self.upstream_ended = True

    def from_upstream(self, data: bytes) -> None:
        # Many end without TLS's own farewell, so an end is taken for one; what must not be cut off unseen says how long it is.
        self.client_ended = not data
        self._received.write(data)
        self._step()

    def upstream_failed(self) -> None:
        self.state = FilterState.ABORT

    def to_client(self) -> bytes:
        data, self._decrypted = self._decrypted, b""
        return data

    def to_upstream(self) -> bytes:
        return self._to_send.read()

    def put_back(self, data: bytes) -> None:
        """What was taken too much of :meth:`to_client`."""
        self._decrypted = data + self._decrypted

    def _say_goodbye(self) -> None:
        """No more will come from here (RFC 8446 section 6.1); the other direction goes on."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:  # it would wait for the answer, which comes in its time
            pass

    def _step(self) -> None:
        """Go as far as the bytes that are here allow."""
        try:
            if not self._is_secure:
                self._tls.do_handshake()
                self._is_secure = True
            if self._waiting:
                self._tls.write(self._waiting)  # takes everything: memory is never full
                self._waiting = b""
            while data := self._tls.read(READ_SIZE):
                self._decrypted += data
            self.client_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.client_ended = True
        except ssl.SSLError as error:
            self.state = FilterState.ABORT
            self.failure = DialError(Reason.GENERAL_FAILURE, f"TLS: {error.reason or error}")


class HttpsProxyHandshake:
    """Speaks to one proxy; the same filter carries the handshake and, after that, the tunnel."""

    def __init__(self, context: ssl.SSLContext, hop: Hop, target: Address) -> None:
        self._filter = TlsFilter(context, hop.address.host)
        request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
        if hop.username is not None:
            token = base64.b64encode(hop.username + b":" + (hop.password or b"")).decode()
            request += f"Proxy-Authorization: Basic {token}\r\n"
        self._filter.from_client(f"{request}\r\n".encode("ascii"))
        self._reply = b""
        self.done = False
        self.filter: Filter | None = None

    def receive_data(self, data: bytes) -> None:
        """Feed bytes from the proxy.

        :raises DialError: for a certificate that is not trusted, and for any other answer than yes.
        """
        self._filter.from_upstream(data)
        self._reply += self._filter.to_client()
        if self._filter.failure is not None:
            raise self._filter.failure
        head, end, rest = self._reply.partition(b"\r\n\r\n")
        if end:
            self._judge(head.split(b"\r\n")[0].decode("latin-1"))
            self._filter.put_back(rest)
            self.done, self.filter = True, self._filter
        elif len(self._reply) > LONGEST_REPLY:
            raise DialError(Reason.GENERAL_FAILURE, "the reply is too long")

    def data_to_send(self) -> bytes:
        return self._filter.to_upstream()

    def trailing_data(self) -> bytes:
        """Nothing: what is here has been decrypted already, and is in the filter."""
        return b""

    def _judge(self, line: str) -> None:
        """Look at the status line.

        :raises DialError: if it does not say yes.
        """
        status = line.split(" ")[1] if line.startswith("HTTP/1.") and " " in line else "?"
        if not status.startswith("2"):
            reason = Reason.NOT_ALLOWED if status in ("403", "407") else Reason.GENERAL_FAILURE
            raise DialError(reason, f"status {status}")


class HttpsProxyDialer:
    """The scheme ``https``; the context is made once, for it takes milliseconds."""

    default_port = 443

    def __init__(self, server: ServerContext) -> None:
        ca = server.section(HttpsProxySettings).ca
        try:
            self._context = ssl.create_default_context(cafile=ca or None)
        except OSError as error:
            raise ConfigurationError(f"https_proxy.ca: {error.strerror or error}") from None

    def handshake(self, hop: Hop, target: Address) -> HttpsProxyHandshake:
        return HttpsProxyHandshake(self._context, hop, target)


@hookimpl
def config_model() -> type[Section]:
    return HttpsProxySettings


@hookimpl
def register_dialers(server: ServerContext) -> Mapping[str, Dialer]:
    return {"https": HttpsProxyDialer(server)}
