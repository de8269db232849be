"""A router that dials by itself, and tries another way before the client is answered.

::

    python examples/failover_router.py socks5://127.0.0.1:9050 http://proxy.example:3128
    curl --proxy socks5h://127.0.0.1:PORT http://example.com/

Each request goes through the first proxy that brings it to its target, at last straight. Without proxies it tries a Tor on this machine.
"""

import sys
from collections.abc import Sequence

import anyio

from neosocksd_core import Chain, Decision, DialError, Forward, Reject, Request
from neosocksd_core.addresses import parse_chain
from neosocksd_core.server import Server

DEFAULT_PORTS = {"socks5": 1080, "socks4a": 1080, "http": 80}
STRAIGHT: Chain = ()


class FailoverRouter:
    """Tries its ways in turn. What it has dialled is the answer; if none works the client hears the last reason."""

    def __init__(self, first: Chain, *others: Chain) -> None:
        self._ways = (first, *others)

    async def route(self, request: Request) -> Decision:
        failure = Reject()
        for way in self._ways:
            forward = Forward(request.target, way)
            try:
                return await request.dial(forward)
            except DialError as error:
                print(f"session {request.session_id}: {forward}: {error}", flush=True)
                failure = Reject(error.reason, str(error))
        return failure


async def main(proxies: Sequence[str]) -> None:
    ways = [parse_chain(uri, DEFAULT_PORTS) for uri in proxies]
    router = FailoverRouter(*ways, STRAIGHT)
    # No way may eat up the time of the others.
    settings = {"listen": "127.0.0.1:0", "timeout": 60, "dial_timeout": 5}
    async with Server(settings, router=router) as server:
        host, port = server.addresses[0][:2]
        print(f"SOCKS on {host}:{port}, Control-C stops it", flush=True)
        await server.wait_stopped()


if __name__ == "__main__":
    try:
        anyio.run(main, sys.argv[1:] or ["socks5://127.0.0.1:9050"])
    except KeyboardInterrupt:
        print("stopped")
