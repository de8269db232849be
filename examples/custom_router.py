"""A proxy inside a program of one's own, which sends each request where the target's domain belongs.

::

    python examples/custom_router.py                # says on which port it listens
    curl --proxy socks5h://127.0.0.1:PORT http://example.com/       # straight
    curl --proxy socks5h://127.0.0.1:PORT http://ads.example/       # refused
    curl --proxy socks5h://127.0.0.1:PORT http://some.onion/        # through Tor, if it runs here
"""

from collections.abc import Mapping

import anyio

from neosocksd_core import Address, Chain, Decision, Forward, Hop, Reject, Request
from neosocksd_core.server import Server

RULES: Mapping[str, Chain | None] = {
    "onion": (Hop("socks5", Address("127.0.0.1", 9050)),),
    "ads.example": None,
}
"""The chain for a domain and what lies in it; None refuses it."""


class DomainRouter:
    """Applies the rule of the longest domain that the target lies in; without one it goes straight."""

    def __init__(self, rules: Mapping[str, Chain | None]) -> None:
        self._rules = rules

    def route(self, request: Request) -> Decision:
        domain = request.target.host.lower().removesuffix(".")
        while domain and domain not in self._rules:
            domain = domain.partition(".")[2]
        chain = self._rules.get(domain, ())
        if chain is None:
            return Reject(message=f"{domain} is on the list")
        return Forward(request.target, chain)


async def main() -> None:
    async with Server({"listen": "127.0.0.1:0"}, router=DomainRouter(RULES)) as server:
        host, port = server.addresses[0][:2]
        print(f"SOCKS on {host}:{port}, Control-C stops it", flush=True)
        await server.wait_stopped()


if __name__ == "__main__":
    try:
        anyio.run(main)
    except KeyboardInterrupt:
        print("stopped")
