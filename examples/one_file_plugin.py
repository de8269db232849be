"""A plugin in one file: refuses the domains of a list, and what lies in them.

::

    neosocksd --plugin ./examples/one_file_plugin.py --one-file-plugin-domains ads.example
    curl --proxy socks5h://127.0.0.1:1080 http://www.ads.example/       # refused

In a configuration file: ``[one_file_plugin]`` with ``domains = ["ads.example", "tracker.example"]``.
"""

from dataclasses import dataclass

from pydantic import Field

from neosocksd_core import Decision, Forward, Reject, Request, Section, ServerContext, hookimpl


class Blocklist(Section):
    domains: tuple[str, ...] = Field((), description="refuse these domains and what lies in them")


@dataclass
class BlocklistRouter:
    server: ServerContext

    def route(self, request: Request) -> Decision:
        blocked = self.server.section(Blocklist).domains  # as it is now: a reload may change it
        name = request.target.host.lower().removesuffix(".")
        if any(f".{name}".endswith(f".{domain}") for domain in blocked):
            return Reject()
        return Forward(request.target)


@hookimpl
def config_model() -> type[Section]:
    return Blocklist


@hookimpl
def create_router(server: ServerContext) -> BlocklistRouter:
    return BlocklistRouter(server)
