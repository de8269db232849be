"""What other plugins may offer: a path of its own for each call."""

from collections.abc import Sequence

import pytest

from neosocksd_core import NeosocksdError, ServerContext, hookimpl
from neosocksd_core.endpoints import Endpoint, EndpointRequest, EndpointResponse
from neosocksd_core.server import Server
from neosocksd_core.testing import PlainPlugin
from neosocksd_rest_api import RestApi


class Offers:
    """A plugin with one call."""

    def __init__(self, path: str) -> None:
        self.path = path

    @hookimpl
    def register_endpoints(self, server: ServerContext) -> Sequence[Endpoint]:
        async def answer(request: EndpointRequest) -> EndpointResponse:
            return EndpointResponse()

        return [Endpoint(self.path, frozenset({"GET"}), answer)]


def make_server(*plugins: object) -> Server:
    settings = {"listen": "127.0.0.1:0", "rest_api": {"listen": "127.0.0.1:0"}}
    return Server(settings, plugins=[PlainPlugin, *plugins, RestApi])


@pytest.mark.parametrize("path", ["/stats", "/healthy", "/v1/sessions/5", "/", "/openapi.json"])
def test_a_call_at_a_path_of_the_api_is_an_error_at_the_start(path: str) -> None:
    with pytest.raises(NeosocksdError, match=f"'{path}' .* the API's own"):
        make_server(Offers(path))


def test_a_call_that_two_plugins_offer_is_an_error_at_the_start() -> None:
    class Others(Offers):
        pass

    with pytest.raises(NeosocksdError, match="'o.+s' and 'o.+s' both claim the endpoint '/run'"):
        make_server(Offers("/run"), Others("/run"))


def test_a_path_that_no_request_can_name_is_an_error_at_the_start() -> None:
    with pytest.raises(
        NeosocksdError, match="plugin 'offers': .*'run' does not begin with a slash"
    ):
        make_server(Offers("run"))
