"""Who may call: no web page of another origin, nobody by a name that is not ours, and only who has the token where there is one.

A browser that was led here by a page tells on it: by ``Origin``, by ``Sec-Fetch-Site``, or, where a name was rebound to our
address, by ``Host``. The original's RPC sends none of these, and passes.
"""

import hmac
import os
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from neosocksd_core import ConfigurationError
from neosocksd_core.addresses import UNIX_PREFIX, pack_ip, parse_listen_address
from neosocksd_http1 import Headers
from neosocksd_rest_api.config import RestApiSettings
from neosocksd_rest_api.page import page_files

OPEN_PATH = "/healthy"
"""Anybody may ask for this one: a prober knows neither our name nor the token."""

PAGE_PATHS = frozenset({"/", *(f"/{name}" for name in page_files())})
"""A browser cannot send a token with a page that it opens; the page holds nothing that is secret, and asks for it."""

LONGEST_TOKEN = 4096

_OWN_SITES = frozenset({b"same-origin", b"none"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served: the status, and a text for a person that says nothing of the request."""

    status: int
    detail: str


FOREIGN = Refusal(403, "requests from other web sites are refused")
UNKNOWN_HOST = Refusal(403, "this server is not known by that name (setting api_hosts)")
NO_TOKEN = Refusal(401, "a token is needed: Authorization: Bearer TOKEN")


@dataclass(frozen=True, slots=True)
class Guard:
    """The rules in force. ``token`` is empty where none is asked for; ``hosts`` are our names, in lower case."""

    token: bytes
    hosts: frozenset[str]

    def __repr__(self) -> str:
        return f"<Guard of {len(self.hosts)} names>"

    def judge(self, path: str, headers: Headers) -> Refusal | None:
        """Why a request for *path* is refused, None if it is not."""
        if path == OPEN_PATH:
            return None
        if not _is_same_site(headers):
            return FOREIGN
        if self._has_token(headers):
            return None
        if not self._is_our_name(headers):
            return UNKNOWN_HOST
        if self.token and path not in PAGE_PATHS:
            return NO_TOKEN
        return None

    def _has_token(self, headers: Headers) -> bool:
        if not self.token:
            return False
        given = headers.get_all(b"authorization")
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self.token)

    def _is_our_name(self, headers: Headers) -> bool:
        given = headers.get(b"host")
        if given is None:
            return True
        host = _without_port(given.decode("latin-1")).lower()
        return host in self.hosts or pack_ip(host) is not None


def _is_same_site(headers: Headers) -> bool:
    if not _OWN_SITES.issuperset(headers.get_all(b"sec-fetch-site")):
        return False
    origins = headers.get_all(b"origin")
    if not origins:
        return True
    host = headers.get(b"host")
    if host is None or len(origins) != 1:
        return False
    # `https` where something in front of us speaks TLS.
    return origins[0].lower() in (b"http://" + host.lower(), b"https://" + host.lower())


def _without_port(host: str) -> str:
    if host.startswith("["):
        literal, bracket, _ = host[1:].partition("]")
        return literal if bracket and ":" in literal else ""
    return host.partition(":")[0]


def make_guard(settings: RestApiSettings) -> Guard:
    """The rules that *settings* stand for.

    :raises ConfigurationError: if others can reach the API and there is no token, or the token is none.
    """
    token = _read_token(settings)
    if settings.via_proxy and not token:
        raise ConfigurationError(
            "rest_api.via_proxy: every client of the proxy could reach the API, so a token is needed:"
            " --api-token or --api-token-file"
        )
    if not token:
        for address in settings.listen:
            if not _is_private(address):
                raise ConfigurationError(
                    f"rest_api.listen: others can reach {address}, so a token is needed:"
                    " --api-token, --api-token-file, or listen on 127.0.0.1 or unix:PATH"
                )
    return Guard(token, frozenset({"localhost", *(host.lower() for host in settings.hosts)}))


def _read_token(settings: RestApiSettings) -> bytes:
    key, token = "token", os.fsencode(settings.token.get_secret_value())
    if settings.token_file:
        if token:
            raise ConfigurationError("rest_api.token: it and token_file exclude each other")
        key, token = "token_file", read_token_file(settings.token_file)
    if len(token) > LONGEST_TOKEN or not all(0x21 <= byte <= 0x7E for byte in token):
        raise ConfigurationError(f"rest_api.{key}: a token has visible ASCII characters only")
    return token


def read_token_file(path: str) -> bytes:
    """The token in the first line of a file.

    :raises ConfigurationError: if it cannot be read, or the line is empty.
    """
    try:
        with Path(path).open("rb") as file:
            token = file.read(LONGEST_TOKEN + 2).partition(b"\n")[0].strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"rest_api.token_file: {path}: {reason}") from None
    if not token:
        raise ConfigurationError(f"rest_api.token_file: {path}: the first line is empty")
    return token


def _is_private(address: str) -> bool:
    """Whether nobody but this machine's users can reach *address*."""
    if address.startswith(UNIX_PREFIX):
        return True
    host = parse_listen_address(address).host
    if host == "localhost":
        return True
    return pack_ip(host) is not None and ip_address(host.partition("%")[0]).is_loopback
