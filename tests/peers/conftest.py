"""What the tests with real programs share: our own proxy, the servers behind it, and real proxies beside it."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.daemons import LOOPBACK, OurProxy, find, our_command, run
from tests.peers.origin import Origin, serve_web
from tests.peers.proxies import Proxies

BIG = 100_000_000
StartProxy = Callable[..., OurProxy]


@dataclass(frozen=True)
class BigFile:
    """A file of 100 MB, and its checksum."""

    path: Path
    sha256: str


@pytest.fixture(scope="session")
def big_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BigFile]:
    path = tmp_path_factory.mktemp("big") / "body"
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(BIG // 1_000_000):
            part = os.urandom(1_000_000)
            digest.update(part)
            file.write(part)
    yield BigFile(path, digest.hexdigest())
    shutil.rmtree(path.parent)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1, signed by itself, in one file."""
    path = tmp_path_factory.mktemp("tls") / "origin.pem"
    run(
        find("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=origin", "-addext", f"subjectAltName=IP:{LOOPBACK}", "-keyout", str(path), "-out", f"{path}.crt",
    )  # fmt: skip
    with path.open("ab") as file:
        file.write(Path(f"{path}.crt").read_bytes())
    return path


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A web server."""
    with serve_web() as server:
        yield server


@pytest.fixture
def secure_origin(certificate: Path) -> Iterator[Origin]:
    """A web server over TLS."""
    with serve_web(certificate=certificate) as server:
        yield server


@pytest.fixture
def big_origin(big_file: BigFile) -> Iterator[Origin]:
    """A web server that serves the big file as ``/body``."""
    with serve_web(big_file.path) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OurProxy]:
    """Our proxy, without anything special. One serves the tests of a module."""
    with OurProxy(tmp_path_factory.mktemp("proxy") / "log") as running:
        yield running


@pytest.fixture(scope="module")
def password_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OurProxy]:
    """Our proxy, which wants to know that it is alice with the password ``s3cret:!``."""
    folder = tmp_path_factory.mktemp("password-proxy")
    line = run(our_command(), "hash-password", "alice", stdin=b"s3cret:!\n").stdout
    users = folder / "users"
    users.write_bytes(line)
    with OurProxy(
        folder / "log", "--auth-required", "--static-auth-users-file", str(users)
    ) as running:
        yield running


@pytest.fixture
def start_proxy(tmp_path: Path) -> Iterator[StartProxy]:
    """Starts further proxies of ours, with arguments of the test's own."""
    with ExitStack() as stack:
        count = 0

        def start(*arguments: str) -> OurProxy:
            nonlocal count
            count += 1
            return stack.enter_context(OurProxy(tmp_path / f"proxy-{count}.log", *arguments))

        yield start


@pytest.fixture(scope="module")
def proxies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxies]:
    """Real proxies, by name. One of each serves the tests of a module."""
    with ExitStack() as stack:
        yield Proxies(tmp_path_factory.mktemp("proxies"), stack)
