"""Headless Chromium fetches a page through the running command."""

from pathlib import Path

import pytest

from tests.peers.conftest import StartProxy
from tests.peers.daemons import LOOPBACK, find, run
from tests.peers.origin import Origin

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions", "--disable-dev-shm-usage",
    "--proxy-bypass-list=<-loopback>",
)  # fmt: skip


@pytest.mark.parametrize("how", ["socks5", "http"])
def test_a_page_comes_through(
    start_proxy: StartProxy, origin: Origin, tmp_path: Path, how: str
) -> None:
    chromium = find("chromium")
    # What the browser wants of the world at its start ends here: nothing but this machine can be reached.
    proxy = start_proxy("--block-outbound", "global,multicast")
    port = proxy.http if how == "http" else proxy.socks
    told = run(
        chromium,
        *FLAGS,
        f"--proxy-server={how}://{LOOPBACK}:{port}",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        f"http://localhost:{origin.port}/page",
    ).stdout.decode(errors="replace")
    assert "the page came through" in told
    paths = [line for line, _ in origin.requests]
    assert "GET /page HTTP/1.1" in paths
    vias = {header.get("via") for _, header in origin.requests}
    assert vias == ({"1.1 neosocksd"} if how == "http" else {None})
