"""What dnspython asks its questions through: its own backends, without a leak that they have.

uvloop does not close a datagram socket that is still being opened when the task that waits for it is cancelled.
"""

import asyncio
from socket import SOCK_DGRAM
from typing import Any

import dns.asyncbackend


def current_backend() -> Any:
    """The backend for the event loop that runs."""
    library = dns.asyncbackend.sniff()
    backend: Any = dns.asyncbackend.get_backend(library)
    return AsyncioBackend(backend) if library == "asyncio" else backend


class AsyncioBackend:
    """A backend of dnspython that closes, once it is open, a datagram socket that nobody waits for any more."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    async def make_socket(self, af: int, socktype: int, *args: Any, **named: Any) -> Any:
        """Open a socket. One for datagrams opens by itself if the caller is cancelled, which takes it a moment and no answer."""
        opening = self._backend.make_socket(af, socktype, *args, **named)
        if socktype != SOCK_DGRAM:
            return await opening
        task = asyncio.ensure_future(opening)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_close)
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def _close(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().transport.close()
