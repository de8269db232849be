"""A plugin in one file: refuses the domains of a list, and what lies in them.

::

    neosocksd --plugin ./examples/one_file_plugin.py --one-file-plugin-domains ads.example
    curl --proxy socks5h://127.0.0.1:1080 http://www.ads.example/       # refused

In a configuration file: ``[one_file_plugin]`` with ``domains = ["ads.example", "tracker.example"]``.
"""

from pydantic import Field

from neosocksd_core import (
    Decision,
    Forward,
    Reject,
    Request,
    Router,
    Section,
    ServerContext,
    hookimpl,
)


class Blocklist(Section):
    domains: tuple[str, ...] = Field((), description="refuse these domains and what lies in them")


class BlocklistRouter:
    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def route(self, request: Request) -> Decision:
        name = f".{request.target.host.lower().removesuffix('.')}"
        blocked = self._server.section(
            Blocklist
        ).domains  # asked anew, since a reload may change it
        return (
            Reject() if name.endswith(tuple(f".{d}" for d in blocked)) else Forward(request.target)
        )


@hookimpl
def config_model() -> type[Section]:
    return Blocklist


@hookimpl
def create_router(server: ServerContext) -> Router:
    return BlocklistRouter(server)
