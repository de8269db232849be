"""The API of one server, put together: what stays over a reload, and what a reload replaces."""

from dataclasses import dataclass
from functools import partial

from neosocksd_core import ConfigurationError, ServerContext
from neosocksd_core.services import ControlListener
from neosocksd_http1 import Request
from neosocksd_rest_api.application import ApiApplication
from neosocksd_rest_api.config import RestApiSettings
from neosocksd_rest_api.connection import Service
from neosocksd_rest_api.denials import Denials
from neosocksd_rest_api.feed import Feed
from neosocksd_rest_api.guard import Guard, Refusal, make_guard
from neosocksd_rest_api.targets import Target

NAME = "api"


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings, and what was derived from them."""

    settings: RestApiSettings
    guard: Guard


class Api:
    """The API of one server.

    A reload first asks for the listeners of the new settings, which may fail, and later says that they are in force:
    what was prepared counts from then on, for open connections as well.
    """

    def __init__(self, server: ServerContext, feed: Feed) -> None:
        settings = server.section(RestApiSettings)
        self._server = server
        self._feed = feed
        self._rules = self._prepared = self._former = Rules(settings, make_guard(settings))
        self._application = ApiApplication(
            server, feed, lambda: self._rules.settings.inflated_limit
        )
        self._service = Service(
            self._application,
            lambda: self._rules.settings,
            server.counters,
            Denials(server.log),
            server.log,
        )

    def prepare(self) -> ControlListener:
        """The listeners that the server's settings ask for.

        :raises ConfigurationError: if they would be open to everybody.
        """
        settings = self._server.section(RestApiSettings)
        guard = make_guard(settings)
        self._prepared, self._former = Rules(settings, guard), self._rules
        return ControlListener(
            NAME,
            settings.listen,
            partial(self._service.serve, partial(self._admit, guard)),
            settings.max_connections,
            guarded=not settings.via_proxy,
        )

    def check_offered(self) -> None:
        """See whether all that plugins offer can be called.

        :raises NeosocksdError: if two offer the same path, or one a path of the API's own.
        """
        for path in self._server.endpoints():
            if self._application.has(path):
                raise ConfigurationError(
                    f"the endpoint {path!r} of a plugin cannot be served: that path is the API's own"
                )

    def activate(self) -> None:
        """The server's settings are in force: those that were prepared, or, where the reload was refused, those before."""
        settings, token = self._server.section(RestApiSettings), self._rules.guard.token
        self._rules = self._prepared if self._prepared.settings is settings else self._former
        if self._rules.guard.token != token:
            self._feed.dismiss()

    def _admit(self, first: Guard, target: Target, request: Request) -> Refusal | None:
        """Judge by the rules in force. *first* are those under which the connection was accepted: where no token is asked for any
        more, for others cannot reach us any more, it still is on the connections that others may have from before.
        """
        guard = self._rules.guard
        judging = first if first.token and not guard.token else guard
        return judging.judge(target.path, request.headers)
