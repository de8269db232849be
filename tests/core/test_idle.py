"""The idle limit, through a running server."""

from neosocksd_core.testing import Client, EchoServer, PlainPlugin, Serve, plain_request

SETTINGS = {"listen": "127.0.0.1:0", "idle_timeout": 0.2}


def test_a_session_that_relays_nothing_is_reset(
    serve: Serve, echo: EchoServer, backend: str
) -> None:
    server = serve(SETTINGS, plugins=[PlainPlugin], backend=backend)
    with Client(server.address) as client:
        client.send(plain_request(echo.address) + b"x")
        client.expect(b"ok\nx")
        client.expect_reset()
    server.wait_idle()


def test_a_session_that_relays_stays_while_its_neighbour_goes(
    serve: Serve, echo: EchoServer
) -> None:
    server = serve({**SETTINGS, "idle_timeout": 1.0}, plugins=[PlainPlugin])
    with Client(server.address) as busy, Client(server.address) as silent:
        for client in (busy, silent):
            client.send(plain_request(echo.address))
            client.expect(b"ok\n")
        while len(server.sessions()) == 2:
            busy.send(b"x")
            busy.expect(b"x")
        silent.expect_reset()
        busy.send(b"x")
        busy.expect(b"x")


def test_a_reload_sets_a_limit_for_the_sessions_that_are_here(
    serve: Serve, echo: EchoServer
) -> None:
    server = serve(plugins=[PlainPlugin])
    with Client(server.address) as client:
        client.send(plain_request(echo.address))
        client.expect(b"ok\n")
        server.reload({"listen": "127.0.0.1:0", "idle_timeout": 0.05})
        client.expect_reset()


def test_a_connection_that_is_not_yet_answered_has_its_own_limit(serve: Serve) -> None:
    server = serve({**SETTINGS, "idle_timeout": 0.01}, plugins=[PlainPlugin])
    with Client(server.address) as waiting, Client(server.address) as other:
        server.wait_until(lambda s: s.num_halfopen == 2)
        other.finish()
        server.wait_until(lambda s: s.num_halfopen == 1)
        waiting.send(b"nonsense\n")
        assert waiting.receive_until_closed()
