"""Real proxies to be hops of a chain: Debian's microsocks, Dante and tinyproxy, and others of us."""

import os
from contextlib import ExitStack
from pathlib import Path

from tests.peers.daemons import LOOPBACK, Daemon, OurProxy, free_port, look_for, missing


class Proxies:
    """One of each, all started at once. ``proxies("tinyproxy")`` is the URI of one."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        """Start them; *stack* will stop them."""
        self._folder = folder
        self._stack = stack
        self._uris: dict[str, str] = {}
        self._started: list[tuple[Daemon, int]] = []
        ours = [OurProxy(folder / f"ours-{number}.log") for number in range(3)]
        for proxy in ours:
            stack.push(proxy)
        self._start_microsocks()
        self._start_danted()
        self._start_tinyproxy()
        for proxy in ours:
            proxy.wait_for_ports()
        self._uris["ours-socks5"] = f"socks5://{LOOPBACK}:{ours[0].socks}"
        self._uris["ours-socks4a"] = f"socks4a://{LOOPBACK}:{ours[1].socks}"
        self._uris["ours-http"] = f"http://{LOOPBACK}:{ours[2].http}"
        for daemon, port in self._started:
            daemon.wait_for_port(port)

    def __call__(self, name: str) -> str:
        """The URI of a proxy. If its program is missing the test is skipped, or fails."""
        return self._uris.get(name) or missing(name.partition("-")[0])

    def _start_microsocks(self) -> None:
        for name, user, arguments in (
            ("microsocks", "", ()),
            ("microsocks-password", "bob:p%40ss@", ("-u", "bob", "-P", "p@ss")),
        ):
            port = free_port()
            if self._start("microsocks", port, "-i", LOOPBACK, "-p", str(port), *arguments):
                self._uris[name] = f"socks5://{user}{LOOPBACK}:{port}"

    def _start_danted(self) -> None:
        port = free_port()
        config = self._write("danted.conf", danted_config(port))
        if self._start("danted", port, "-f", config):
            self._uris["danted"] = f"socks5://{LOOPBACK}:{port}"
            self._uris["danted-socks4"] = f"socks4a://{LOOPBACK}:{port}"

    def _start_tinyproxy(self) -> None:
        for name, user, more in (
            ("tinyproxy", "", ""),
            ("tinyproxy-password", "bob:pass@", "BasicAuth bob pass"),
        ):
            port = free_port()
            config = self._write(f"{name}.conf", tinyproxy_config(port, more))
            if self._start("tinyproxy", port, "-d", "-c", config):
                self._uris[name] = f"http://{user}{LOOPBACK}:{port}"

    def _start(self, program: str, port: int, *arguments: str) -> bool:
        """Start *program* if there is one."""
        if (path := look_for(program)) is None:
            return False
        daemon = Daemon([path, *arguments], self._folder / f"{program}-{port}.log")
        self._started.append((self._stack.enter_context(daemon), port))
        return True

    def _write(self, name: str, text: str) -> str:
        path = self._folder / name
        path.write_text(text)
        return str(path)


def danted_config(port: int) -> str:
    """A configuration of Dante's server, which refuses 127.0.0.2. It wants users; root may become nobody."""
    users = "user.privileged: root\nuser.unprivileged: nobody\n" if os.geteuid() == 0 else ""
    return f"""
logoutput: stderr
internal: {LOOPBACK} port = {port}
external: {LOOPBACK}
clientmethod: none
socksmethod: none
{users}
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks block {{ from: 0.0.0.0/0 to: 127.0.0.2/32 log: error }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 protocol: tcp }}
"""


def tinyproxy_config(port: int, more: str = "") -> str:
    """A configuration of tinyproxy: without a ConnectPort it makes tunnels to every port."""
    return f"""
Port {port}
Listen {LOOPBACK}
Timeout 60
MaxClients 20
Allow {LOOPBACK}
LogLevel Info
{more}
"""
