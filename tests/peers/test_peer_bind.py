"""BIND by a real client: curl fetches a file by active FTP, for which dante's socksify has our server listen."""

import os
import socket
import subprocess
from pathlib import Path

from neosocksd_core.testing import ScriptedPeer
from neosocksd_core.testing.connection import Connection
from tests.command import Command
from tests.peers.daemons import LOOPBACK, find

TEXT = b"over the connection that the FTP server has made\n"

ANSWERS = {
    "USER": b"331 any password\r\n",
    "PASS": b"230 welcome\r\n",
    "PWD": b'257 "/"\r\n',
    "TYPE": b"200 as you like\r\n",
    "QUIT": b"221 bye\r\n",
}


def serve_ftp(control: Connection) -> None:
    """As much of RFC 959 as it takes to send one file to where the client listens."""
    control.send(b"220 ready\r\n")
    target = ("", 0)
    command = ""
    while command != "QUIT":
        line = control.receive_until(b"\r\n").decode().strip()
        command, _, argument = line.partition(" ")
        if command == "PORT":
            *host, high, low = argument.split(",")
            target = (".".join(host), int(high) * 256 + int(low))
            control.send(b"200 noted\r\n")
        elif command == "RETR":
            control.send(b"150 here it comes\r\n")
            with socket.create_connection(target, timeout=10) as data:
                data.sendall(TEXT)
                data.shutdown(socket.SHUT_WR)
                data.recv(
                    1
                )  # curl gives up where it is told of the end before it has the connection
            control.send(b"226 done\r\n")
        else:
            control.send(ANSWERS.get(command, b"502 not here\r\n"))


def test_curl_and_socksify_fetch_a_file_by_active_ftp(tmp_path: Path) -> None:
    with ScriptedPeer(serve_ftp) as ftp, Command("--enable-socks5-bind", "--loglevel", "5") as ours:
        host, port, *_ = ours.address
        configuration = tmp_path / "socks.conf"
        configuration.write_text(f"""
            route {{
                from: 0.0.0.0/0 to: 0.0.0.0/0 via: {host} port = {port}
                protocol: tcp
                proxyprotocol: socks_v5
                method: none
                command: bind
            }}""")
        client = [find("socksify"), find("curl"), "-sS", "--disable-eprt", "--ftp-port", "-"]
        got = subprocess.run(
            [*client, "--max-time", "20", f"ftp://{LOOPBACK}:{ftp.port}/file"],
            capture_output=True,
            env={**os.environ, "SOCKS_CONF": str(configuration)},
            check=False,
            timeout=30,
        )
        assert (got.stdout, got.stderr) == (TEXT, b"")
        assert f": done, up 0 bytes, down {len(TEXT)} bytes" in ours.wait_for("socks5-bind ")
