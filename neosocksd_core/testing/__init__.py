"""A testing kit for plugin authors and embedders: real servers, scripted peers, and machines fed byte by byte.

::

    def test_a_client_is_connected_to_its_target(serve, echo):
        server = serve({"listen": "127.0.0.1:0"}, plugins=[PlainPlugin])
        with Client(server.address) as client:
            client.send(plain_request(echo.address) + b"hello")
            client.expect(b"ok\\nhello")
            client.finish()
            client.expect_eof()

Everything blocks, everything has a deadline (:data:`DEADLINE` seconds), and what goes wrong is an :class:`AssertionError` that says
what was expected and what came. The fixtures are in :mod:`neosocksd_core.testing.pytest_plugin`, which pytest finds by
itself wherever neosocksd is installed; nothing else here needs pytest.
"""

from neosocksd_core.testing.connection import DEADLINE, Client, Connection
from neosocksd_core.testing.deliveries import (
    DELIVERIES,
    Delivery,
    byte_by_byte,
    every_split,
    in_one_write,
    split_at,
)
from neosocksd_core.testing.leaks import LeakCheck
from neosocksd_core.testing.machines import Fed, feed, feed_client, pair
from neosocksd_core.testing.peers import (
    BlackHole,
    EchoServer,
    Peer,
    ScriptedPeer,
    closed_address,
)
from neosocksd_core.testing.plain import PlainPlugin, plain_request
from neosocksd_core.testing.running import BACKENDS, RunningServer, Serve, make_server, run_async

__all__ = [
    "BACKENDS",
    "DEADLINE",
    "DELIVERIES",
    "BlackHole",
    "Client",
    "Connection",
    "Delivery",
    "EchoServer",
    "Fed",
    "LeakCheck",
    "Peer",
    "PlainPlugin",
    "RunningServer",
    "ScriptedPeer",
    "Serve",
    "byte_by_byte",
    "closed_address",
    "every_split",
    "feed",
    "feed_client",
    "in_one_write",
    "make_server",
    "pair",
    "plain_request",
    "run_async",
    "split_at",
]
