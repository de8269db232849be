"""The examples run as they stand, and the third party's distribution works beside our wheel in a clean virtual environment."""

import base64
import os
import re
import runpy
import shutil
import signal
import ssl
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from neosocksd_core import Address, ConfigurationError, Hop
from neosocksd_core.server import Server
from neosocksd_core.testing import (
    Client,
    Connection,
    EchoServer,
    PlainPlugin,
    ScriptedPeer,
    Serve,
    closed_address,
)
from tests.peers.daemons import LOOPBACK, Daemon, Neosocksd, find, python, run
from tests.peers.origin import PAGE, serve_web

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"

NOT_ALLOWED = 2
CONNECTION_REFUSED = 5


def socks5_request(host: str, port: int) -> bytes:
    """Greeting and CONNECT in one; the host goes as a name."""
    name = host.encode()
    return (
        b"\x05\x01\x00" + b"\x05\x01\x00\x03" + bytes((len(name),)) + name + port.to_bytes(2, "big")
    )


def expect_echo(port: int, echo: EchoServer, host: str = LOOPBACK) -> None:
    """Bytes come back through the SOCKS server on *port*."""
    with Client((LOOPBACK, port)) as client:
        client.send(socks5_request(host, echo.address[1]) + b"hello")
        client.expect(b"\x05\x00" + b"\x05\x00\x00\x01")
        client.receive(6)
        client.expect(b"hello")
        client.finish()
        client.expect_eof()


def expect_reply(port: int, reply: int, host: str, target_port: int = 80) -> None:
    """The request is answered with that reply of RFC 1928 section 6."""
    with Client((LOOPBACK, port)) as client:
        client.send(socks5_request(host, target_port))
        client.expect(b"\x05\x00" + b"\x05" + bytes((reply,)))
        client.receive(8)
        client.expect_eof()


class Program(Daemon):
    """An example that is a program: says its port, and Control-C stops it."""

    def __init__(self, name: str, output: Path, *arguments: str) -> None:
        super().__init__([python(), str(EXAMPLES / name), *arguments], output)

    def port(self) -> int:
        return int(self.wait_for(rf"SOCKS on {LOOPBACK}:(\d+),")[1])

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(30) == 0, self.output
        assert self.output.endswith("stopped\n"), self.output


def test_custom_router_sends_a_domain_where_its_rule_says(tmp_path: Path, echo: EchoServer) -> None:
    with Program("custom_router.py", tmp_path / "log") as program:
        port = program.port()
        expect_echo(port, echo)
        expect_reply(port, NOT_ALLOWED, "ads.example")
        expect_reply(port, NOT_ALLOWED, "www.ADS.example")
        program.interrupt()


def test_custom_router_takes_a_chain_for_a_domain(serve: Serve, echo: EchoServer) -> None:
    router_of = runpy.run_path(str(EXAMPLES / "custom_router.py"))["DomainRouter"]
    far = serve(plugins=["socks5"])
    chain = (Hop("socks5", Address(LOOPBACK, far.address[1])),)
    near = serve(plugins=["socks5"], router=router_of({"localhost": chain, "sub.localhost": None}))
    expect_echo(near.address[1], echo, "localhost")
    expect_reply(near.address[1], NOT_ALLOWED, "a.sub.localhost")
    assert far.wait_idle().num_request == 1


def test_failover_router_tries_the_next_way(tmp_path: Path, serve: Serve, echo: EchoServer) -> None:
    works = serve(plugins=["socks5"])
    with closed_address() as (host, port, *_):
        ways = [f"http://{host}:{port}", f"socks5://{LOOPBACK}:{works.address[1]}"]
        with Program("failover_router.py", tmp_path / "log", *ways) as program:
            expect_echo(program.port(), echo)
            assert works.wait_idle().num_request == 1
            program.wait_for(rf"session \d+: .*{port}")
            expect_reply(program.port(), CONNECTION_REFUSED, host, port)
            program.interrupt()


def test_one_file_plugin_refuses_the_domains_of_its_list(tmp_path: Path, echo: EchoServer) -> None:
    plugin = os.path.relpath(EXAMPLES / "one_file_plugin.py")
    arguments = [
        "--listen",
        f"{LOOPBACK}:0",
        "--plugin",
        plugin if "/" in plugin else f"./{plugin}",
    ]
    arguments += ["--one-file-plugin-domains", "ads.example", "--one-file-plugin-domains", "x.test"]
    with Neosocksd(arguments, tmp_path / "log") as proxy:
        [port] = proxy.ports
        expect_echo(port, echo)
        expect_reply(port, NOT_ALLOWED, "www.Ads.example")
        expect_reply(port, NOT_ALLOWED, "x.test")


PASSWORD = b"Basic " + base64.b64encode(b"alice:secret")


class TlsProxy(ScriptedPeer):
    """An HTTP proxy behind TLS that grants everything to who knows the password, and answers in capitals by itself.

    Its certificate is in the file ``certificate``.
    """

    def __init__(self, folder: Path, reply: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self.certificate, key = folder / "certificate.pem", folder / "key.pem"
        run(
            find("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/CN=test", "-addext", f"subjectAltName=IP:{LOOPBACK}",
            "-keyout", str(key), "-out", str(self.certificate),
        )  # fmt: skip
        self._reply = reply
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(self.certificate, key)
        self.failures: list[ssl.SSLError] = []
        self.requests: list[bytes] = []
        super().__init__(self._converse)

    def settings(self, *, trusted: bool = True) -> dict[str, object]:
        """For a server that reaches everything through it."""
        ca = {"ca": str(self.certificate)} if trusted else {}
        proxy = f"https://alice:secret@{LOOPBACK}:{self.port}"
        return {"listen": f"{LOOPBACK}:0", "proxy": proxy, "https_proxy": ca}

    def _converse(self, connection: Connection) -> None:
        try:
            with self._context.wrap_socket(connection.socket, server_side=True) as stream:
                self._serve_request(stream)
        except ssl.SSLError as error:
            self.failures.append(error)

    def _serve_request(self, stream: ssl.SSLSocket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += stream.recv(1000)
        self.requests.append(request)
        stream.sendall(self._reply)
        if b" 200 " not in self._reply:
            return
        stream.sendall(b"WELCOME ")
        while data := stream.recv(65536):
            stream.sendall(data.upper())
        stream.sendall(b" GOODBYE")
        stream.unwrap()


HTTPS_PROXY = str(EXAMPLES / "https_proxy.py")


def test_https_proxy_carries_bytes_over_tls(tmp_path: Path, serve: Serve, backend: str) -> None:
    with TlsProxy(tmp_path) as proxy:
        server = serve(proxy.settings(), plugins=[PlainPlugin, HTTPS_PROXY])
        with Client(server.address) as client:
            client.send(b"name.example:80\n" + b"hello")
            client.expect(b"ok\n" + b"WELCOME HELLO")
            client.send(b"x" * 1_000_000)
            client.expect(b"X" * 1_000_000)
            client.finish()
            client.expect(b" GOODBYE")
            client.expect_eof()
        server.wait_idle()
    [request] = proxy.requests
    assert request.startswith(b"CONNECT name.example:80 HTTP/1.1\r\nHost: name.example:80\r\n")
    assert b"\r\nProxy-Authorization: " + PASSWORD + b"\r\n" in request
    assert not proxy.failures


def test_https_proxy_trusts_nobody_by_accident(tmp_path: Path, serve: Serve) -> None:
    with TlsProxy(tmp_path) as proxy:
        server = serve(proxy.settings(trusted=False), plugins=[PlainPlugin, HTTPS_PROXY])
        with Client(server.address) as client:
            client.send(b"name.example:80\n")
            client.expect(b"no general failure\n")
            client.expect_eof()
        assert "CERTIFICATE_VERIFY_FAILED" in (server.wait_idle().lasterror or "")
    assert not proxy.requests


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"HTTP/1.1 403 No\r\n\r\n", b"no not allowed\n"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", b"no general failure\n"),
        (b"SSH-2.0 x\r\n\r\n", b"no general failure\n"),
        (b"x" * 20_000, b"no general failure\n"),
    ],
    ids=["403", "502", "ssh", "long"],
)
def test_https_proxy_passes_a_refusal_on(
    tmp_path: Path, serve: Serve, reply: bytes, said: bytes
) -> None:
    with TlsProxy(tmp_path, reply) as proxy:
        server = serve(proxy.settings(), plugins=[PlainPlugin, HTTPS_PROXY])
        with Client(server.address) as client:
            client.send(b"name.example:80\n")
            client.expect(said)
            client.expect_eof()


def test_https_proxy_names_a_file_that_is_missing(tmp_path: Path) -> None:
    settings = {"https_proxy": {"ca": str(tmp_path / "no.pem")}}
    with pytest.raises(ConfigurationError, match="https_proxy.ca: No such file"):
        Server(settings, plugins=[HTTPS_PROXY])


# The third party. The environment is made once; it takes a while, and its packages come from wherever pip is told to look.

WHILE = 600
KEY = "some words"


@dataclass(frozen=True)
class Environment:
    """A virtual environment that holds our wheel and the third party's, and nothing of this checkout."""

    path: Path

    def bin(self, program: str) -> str:
        return str(self.path / "bin" / program)

    def pip(self, *arguments: str) -> None:
        run(
            self.bin("python"),
            "-m",
            "pip",
            "--quiet",
            "--disable-pip-version-check",
            *arguments,
            timeout=WHILE,
        )


@pytest.fixture(scope="module")
def third_party(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("third-party")
    venv.create(folder / "venv", with_pip=True)
    environment = Environment(folder / "venv")
    wheels = folder / "wheels"
    sources = [str(ROOT), str(EXAMPLES / "third_party")]
    environment.pip("wheel", "--no-deps", "--wheel-dir", str(wheels), *sources)
    built = sorted(wheels.iterdir())
    assert [wheel.name.split("-")[0] for wheel in built] == ["neosocksd", "neosocksd_veil"]
    environment.pip("install", *map(str, built), "pytest")
    return environment


@pytest.mark.timeout(WHILE)
def test_the_third_party_s_plugin_is_listed_and_off_until_it_is_wanted(
    third_party: Environment,
) -> None:
    def line(*arguments: str) -> list[str]:
        told = run(third_party.bin("neosocksd"), "plugins", *arguments).stdout.decode()
        return next(line.split() for line in told.splitlines() if line.startswith("veil "))

    assert "enabled" not in line()
    wanted = line("--plugin", "veil")
    assert "enabled" in wanted
    assert "neosocksd-veil" in wanted
    assert "veil://," in wanted


@pytest.mark.timeout(WHILE)
def test_the_third_party_s_scheme_carries_bytes(
    third_party: Environment, tmp_path: Path, echo: EchoServer
) -> None:
    command = third_party.bin("neosocksd")
    config = tmp_path / "far.toml"
    config.write_text(f'plugins = ["veil"]\n[veil]\nkey = "{KEY}"\nlisten = ["{LOOPBACK}:0"]\n')
    with Neosocksd(["-c", str(config)], tmp_path / "far.log", command) as far:
        arguments = ["--plugin", "veil", "--veil-key", KEY, "-l", f"{LOOPBACK}:0"]
        arguments += ["-x", f"veil://{LOOPBACK}:{far.ports[0]}", "--loglevel", "5"]
        with Neosocksd(arguments, tmp_path / "near.log", command) as near:
            expect_echo(near.ports[0], echo)
            expect_echo(near.ports[0], echo, "localhost")
            with closed_address() as (host, port, *_):
                expect_reply(near.ports[0], CONNECTION_REFUSED, host, port)
            proxy = f"socks5h://{LOOPBACK}:{near.ports[0]}"
            with serve_web() as origin:
                told = run(find("curl"), "--silent", "--noproxy", "", "--proxy", proxy, origin.url)
            assert told.stdout == PAGE


@pytest.mark.timeout(WHILE)
def test_a_built_in_plugin_is_copied_as_its_page_says(
    third_party: Environment, tmp_path: Path
) -> None:
    page = (ROOT / "plugins" / "socks5" / "README.md").read_text()
    [recipe] = re.findall(r"^```sh\n(.*?)^neosocksd ", page, re.DOTALL | re.MULTILINE)
    shutil.copytree(ROOT / "plugins" / "socks5", tmp_path / "checkout" / "plugins" / "socks5")
    begin = 'set -e; PATH="$0:$PATH"; cd "$1"\n'
    arguments = (str(third_party.path / "bin"), str(tmp_path / "checkout"))
    run(find("sh"), "-c", begin + recipe, *arguments, timeout=WHILE)
    flags = ["--plugin", "mysocks", "--no-plugin", "socks5", "--listen", f"{LOOPBACK}:0"]
    with Neosocksd(flags, tmp_path / "log", third_party.bin("neosocksd")) as proxy:
        expect_reply(proxy.ports[0], NOT_ALLOWED, LOOPBACK, proxy.ports[0])


@pytest.mark.timeout(WHILE)
def test_the_third_party_s_own_tests_pass(third_party: Environment, tmp_path: Path) -> None:
    tests = EXAMPLES / "third_party" / "tests"
    run(
        third_party.bin("python"), "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib",
        f"--rootdir={tmp_path}", f"--confcutdir={tests}", "-c", os.devnull, str(tests),
        timeout=WHILE,
    )  # fmt: skip
