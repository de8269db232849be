"""Pipes for ``splice``: borrowed while bytes are under way, given back when empty."""

import fcntl
import os
from dataclasses import dataclass

PIPE_SIZE = 1 << 20
"""Bytes a pipe is asked to hold; the system may grant less."""

HAS_SPLICE = hasattr(os, "splice")


@dataclass(frozen=True, slots=True)
class Pipe:
    """An empty pipe's two ends, both non-blocking."""

    read: int
    write: int

    def close(self) -> None:
        os.close(self.read)
        os.close(self.write)


class PipePool:
    """Keeps a few pipes ready. Only sessions whose peer is slower than the other hold one between two events."""

    def __init__(self, keep: int = 16) -> None:
        self._keep = keep
        self._free: list[Pipe] = []

    def take(self) -> Pipe:
        """An empty pipe.

        :raises OSError: when descriptors have run out.
        """
        if self._free:
            return self._free.pop()
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:
            # Beyond the user's share of pipe memory the size stays what it is: slower, not wrong.
            pass
        return Pipe(read, write)

    def give_back(self, pipe: Pipe) -> None:
        """Return an empty pipe."""
        if len(self._free) < self._keep:
            self._free.append(pipe)
        else:
            pipe.close()

    def close(self) -> None:
        while self._free:
            self._free.pop().close()
