"""The ruleset of one server: the machine in force, and those that it took the place of until their last call has ended."""

from collections.abc import Awaitable

import anyio
import anyio.abc

from neosocksd_core import Decision, Request, ServerContext
from neosocksd_lua_ruleset.config import LuaRulesetSettings
from neosocksd_lua_ruleset.engine import Engine


class Ruleset:
    """What the server routes by, whichever machine it is that decides."""

    def __init__(self, settings: LuaRulesetSettings) -> None:
        self.engine = Engine(settings)
        """The machine in force."""

        self._tasks: anyio.abc.TaskGroup | None = None

    def route(self, request: Request) -> Decision | Awaitable[Decision]:
        """Ask the ruleset."""
        return self.engine.router.route(request)

    async def run(self) -> None:
        """The service: serve the machine in force, and those before it that still have calls."""
        try:
            async with anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self.engine.run)
                await anyio.sleep_forever()
        finally:
            self._tasks = None

    def renew(
        self, server: ServerContext, settings: LuaRulesetSettings, text: bytes, name: bytes
    ) -> None:
        """Load a ruleset's chunk in a new machine, which is in force from now on.

        The old one gets no more calls and no more ticks. When those that it has are over, its other routines are abandoned, and it is collected.

        :raises ScriptError: if the script fails; then the old machine stays in force.
        """
        fresh = Engine(settings)
        fresh.attach(server, settings, is_serving=self._tasks is not None)
        fresh.search_beside(self.engine.path)
        fresh.load(text, name)
        old, self.engine = self.engine, fresh
        if self._tasks is not None:
            self._tasks.start_soon(fresh.run)
        old.retire()
