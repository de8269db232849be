"""curl through the running command: every protocol, bodies of every framing, credentials, connections that are used again."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from neosocksd_core.testing import closed_address
from tests.peers.conftest import BigFile, StartProxy
from tests.peers.daemons import LOOPBACK, Neosocksd, OurProxy, find, run
from tests.peers.origin import PAGE, Origin

SOCKS = ("socks4", "socks4a", "socks5", "socks5h")


def curl(*arguments: str, stdin: bytes = b"", status: int = 0) -> bytes:
    """What curl prints. *status* is its exit status."""
    fixed = [find("curl"), "--silent", "--show-error", "--max-time", "60", "--noproxy", ""]
    return run(*fixed, *arguments, stdin=stdin, status=status).stdout


def through(proxy: OurProxy, how: str, user: str = "") -> Sequence[str]:
    """The arguments that send curl through our proxy."""
    at = f"{user}@" if user else ""
    match how:
        case "http":
            return ("--proxy", f"http://{at}{LOOPBACK}:{proxy.http}")
        case "connect":
            return ("--proxytunnel", "--proxy", f"http://{at}{LOOPBACK}:{proxy.http}")
        case _:
            return ("--proxy", f"{how}://{at}{LOOPBACK}:{proxy.socks}")


WAYS = (*SOCKS, "http", "connect")


@pytest.mark.parametrize("how", WAYS)
def test_a_page_comes_through(proxy: OurProxy, origin: Origin, how: str) -> None:
    assert curl(*through(proxy, how), origin.url) == PAGE
    assert [line for line, _ in origin.requests] == ["GET / HTTP/1.1"]


@pytest.mark.parametrize("how", ["socks4a", "socks5h", "http", "connect"])
def test_names_are_looked_up_by_the_proxy(proxy: OurProxy, origin: Origin, how: str) -> None:
    assert curl(*through(proxy, how), f"http://localhost:{origin.port}/") == PAGE


@pytest.mark.parametrize("how", [*SOCKS, "http"])
def test_https_passes_untouched(
    proxy: OurProxy, secure_origin: Origin, certificate: Path, how: str
) -> None:
    url = f"https://{LOOPBACK}:{secure_origin.port}/"
    assert curl(*through(proxy, how), "--cacert", str(certificate), url) == PAGE


@pytest.mark.parametrize("how", ["socks5", "connect", "http"])
def test_100_mb_come_down_as_they_were(
    proxy: OurProxy, big_origin: Origin, big_file: BigFile, tmp_path: Path, how: str
) -> None:
    copy = tmp_path / "copy"
    curl(*through(proxy, how), "--output", str(copy), f"{big_origin.url}/body")
    with copy.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == big_file.sha256
    copy.unlink()


@pytest.mark.parametrize("how", ["socks5", "connect", "http"])
def test_100_mb_go_up_as_they_were(
    proxy: OurProxy, origin: Origin, big_file: BigFile, how: str
) -> None:
    told = curl(*through(proxy, how), "--upload-file", str(big_file.path), f"{origin.url}/put")
    assert json.loads(told) == {
        "sha256": big_file.sha256,
        "size": big_file.path.stat().st_size,
    }


def test_a_forwarded_request_says_no_more_than_it_should(proxy: OurProxy, origin: Origin) -> None:
    curl(
        *through(proxy, "http", "alice:secret"),
        "--header", "Connection: X-Private",
        "--header", "X-Private: 1",
        "--header", "X-Public: 2",
        f"{origin.url}/path?query=1",
    )  # fmt: skip
    [(line, header)] = origin.requests
    assert line == "GET /path?query=1 HTTP/1.1"
    assert header["host"] == f"{LOOPBACK}:{origin.port}"
    assert header["x-public"] == "2"
    assert header["via"].endswith("1.1 neosocksd")
    assert not {"x-private", "proxy-authorization", "proxy-connection"} & header.keys()


def test_head_has_no_body(proxy: OurProxy, origin: Origin) -> None:
    head = curl(*through(proxy, "http"), "--head", origin.url).decode()
    assert head.startswith("HTTP/1.1 200")
    assert f"Content-Length: {len(PAGE)}" in head


@pytest.mark.parametrize("how", ["http", "connect", "socks5"])
def test_100_continue_is_waited_for(proxy: OurProxy, origin: Origin, how: str) -> None:
    body = b"x" * 70_000
    told = curl(
        *through(proxy, how), "--verbose",
        "--header", "Expect: 100-continue", "--expect100-timeout", "30",
        "--data-binary", "@-", "--stderr", "-",
        f"{origin.url}/post",
        stdin=body,
    ).decode(errors="replace")  # fmt: skip
    assert "< HTTP/1.1 100 Continue" in told
    assert hashlib.sha256(body).hexdigest() in told


@pytest.mark.parametrize("how", ["http", "socks5"])
def test_a_chunked_upload_arrives_whole(proxy: OurProxy, origin: Origin, how: str) -> None:
    body = bytes(range(256)) * 1000
    told = curl(
        *through(proxy, how), "--header", "Transfer-Encoding: chunked", "--upload-file", "-",
        f"{origin.url}/put",
        stdin=body,
    )  # fmt: skip
    assert json.loads(told) == {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}
    assert origin.requests[-1][1]["transfer-encoding"] == "chunked"


@pytest.mark.parametrize("how", ["http", "connect"])
def test_a_chunked_answer_arrives_whole(proxy: OurProxy, origin: Origin, how: str) -> None:
    assert curl(*through(proxy, how), f"{origin.url}/chunked") == b"one two three"


@pytest.mark.parametrize("how", ["http", "connect", "socks5"])
def test_one_connection_serves_several_requests(proxy: OurProxy, origin: Origin, how: str) -> None:
    urls = [f"{origin.url}/{number}" for number in range(5)]
    told = curl(*through(proxy, how), "--write-out", "%{num_connects}\n", *urls).decode()
    assert told.count("the page came through") == len(urls)
    connects = [int(line[-1]) for line in told.splitlines()]
    assert sum(connects) == 1, connects
    assert [line for line, _ in origin.requests] == [f"GET /{n} HTTP/1.1" for n in range(5)]


def test_one_connection_serves_requests_to_several_targets(
    proxy: OurProxy, origin: Origin, big_origin: Origin
) -> None:
    told = curl(
        *through(proxy, "http"), "--write-out", "%{num_connects}\n",
        f"{origin.url}/1", f"{big_origin.url}/2", f"{origin.url}/3",
    ).decode()  # fmt: skip
    assert sum(int(line[-1]) for line in told.splitlines()) == 1
    assert (len(origin.requests), len(big_origin.requests)) == (2, 1)


@pytest.mark.parametrize("how", ["socks5", "socks5h", "http", "connect"])
def test_who_knows_the_password_is_served(
    password_proxy: OurProxy, origin: Origin, how: str
) -> None:
    assert curl(*through(password_proxy, how, "alice:s3cret%3A%21"), origin.url) == PAGE


@pytest.mark.parametrize("user", ["", "alice:wrong", "bob:s3cret%3A%21"])
def test_who_does_not_is_asked_by_http(password_proxy: OurProxy, origin: Origin, user: str) -> None:
    head = curl(*through(password_proxy, "http", user), "--include", origin.url).decode()
    assert head.startswith("HTTP/1.1 407")
    assert "proxy-authenticate: basic" in head.lower()
    assert not origin.requests


@pytest.mark.parametrize(
    ("how", "user"),
    [("connect", "alice:wrong"), ("socks5", ""), ("socks5", "alice:wrong"), ("socks4", "alice")],
)
def test_who_does_not_is_refused(
    password_proxy: OurProxy, origin: Origin, how: str, user: str
) -> None:
    refused = 56 if how == "connect" else 97  # CURLE_RECV_ERROR, CURLE_PROXY
    curl(*through(password_proxy, how, user), origin.url, status=refused)
    assert not origin.requests


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("socks4", 97, "(91)"),
        ("socks5", 97, "(5)"),
        ("connect", 56, "response 502"),
        ("http", 0, "HTTP/1.1 502"),
    ],
)
def test_a_closed_port_is_reported(proxy: OurProxy, how: str, status: int, said: str) -> None:
    with closed_address() as (host, port, *_):
        url = f"http://{host}:{port}/"
        told = curl(*through(proxy, how), "--include", "--stderr", "-", url, status=status)
    assert said in told.decode()


def test_one_port_serves_every_protocol(tmp_path: Path, origin: Origin) -> None:
    arguments = ["--shared-listen", f"{LOOPBACK}:0"]
    with Neosocksd(arguments, tmp_path / "log") as proxy:
        at = f"{LOOPBACK}:{proxy.ports[0]}"
        for how in ("socks4", "socks4a", "socks5", "socks5h", "http"):
            assert curl("--proxy", f"{how}://{at}", origin.url) == PAGE
        assert curl("--proxytunnel", "--proxy", f"http://{at}", origin.url) == PAGE


def test_the_log_has_a_line_for_each_session(start_proxy: StartProxy, origin: Origin) -> None:
    proxy = start_proxy()
    curl(*through(proxy, "socks5"), origin.url)
    line = proxy.wait_for(rf".*{LOOPBACK}:{origin.port}.*")[0]
    assert "INFO" in line
    assert "socks5" in line
