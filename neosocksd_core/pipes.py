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

    def __init__(self, has_pipes: bool = HAS_SPLICE, keep: int = 16) -> None:
        self._has_pipes = has_pipes
        self._keep = keep
        self._free: list[Pipe] = []

    def take(self) -> Pipe | None:
        """An empty pipe, or None where there is none to be had: bytes are then to be copied."""
        if self._free:
            return self._free.pop()
        if not self._has_pipes:
            return None
        try:
            read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None  # descriptors have run out
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
