"""The REST API: control and observation over HTTP, for programs, Prometheus, the original's RPC peers, and a page for people."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from neosocksd_core import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from neosocksd_core import Commands, Observer, Section, ServerContext
    from neosocksd_core.services import ControlListener, Service
    from neosocksd_rest_api.api import Api
    from neosocksd_rest_api.feed import Feed


class RestApi:
    """The plugin. Starlette is loaded only when there is an address to listen at."""

    def __init__(self) -> None:
        self._apis: WeakKeyDictionary[ServerContext, Api] = WeakKeyDictionary()
        self._feeds: WeakKeyDictionary[ServerContext, Feed] = WeakKeyDictionary()

    @hookimpl
    def config_model(self) -> type[Section]:
        from neosocksd_rest_api.config import RestApiSettings

        return RestApiSettings

    @hookimpl
    def register_commands(self, commands: Commands) -> None:
        from neosocksd_rest_api.commands import register

        register(commands)

    @hookimpl
    def register_control_listeners(self, server: ServerContext) -> Sequence[ControlListener]:
        from neosocksd_rest_api.config import RestApiSettings

        api = self._apis.get(server)
        if api is None:
            if not server.section(RestApiSettings).listen:
                return []
            from neosocksd_rest_api.api import Api

            api = self._apis[server] = Api(server, self._feed_of(server))
        return [api.prepare()]

    @hookimpl
    def register_observers(self, server: ServerContext) -> Sequence[Observer]:
        return [self._feed_of(server)]

    @hookimpl
    def register_services(self, server: ServerContext) -> Sequence[Service]:
        from neosocksd_core.services import Service

        return [Service("rest_api", self._feed_of(server).run)]

    @hookimpl
    def check_settings(self, server: ServerContext) -> None:
        api = self._apis.get(server)
        if api is not None:
            api.check_offered()

    @hookimpl
    def reload(self, server: ServerContext) -> None:
        self._feed_of(server).forget()
        api = self._apis.get(server)
        if api is not None:
            api.activate()

    def _feed_of(self, server: ServerContext) -> Feed:
        """What happens is told from the start, for a reload may open the first address."""
        feed = self._feeds.get(server)
        if feed is None:
            from neosocksd_rest_api.feed import Feed

            feed = self._feeds[server] = Feed(server)
        return feed
