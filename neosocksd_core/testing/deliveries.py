"""Deliveries: how a message is cut into pieces on its way to whoever has to understand it."""

from collections.abc import Callable, Iterator, Sequence

Delivery = Callable[[bytes], Sequence[bytes]]
"""Cuts a message into the pieces in which it is delivered."""


def in_one_write(data: bytes) -> Sequence[bytes]:
    """The whole message at once."""
    return (data,)


def byte_by_byte(data: bytes) -> Sequence[bytes]:
    """Each byte by itself."""
    return tuple(data[i : i + 1] for i in range(len(data)))


def split_at(offset: int) -> Delivery:
    """A delivery in two pieces, the first *offset* bytes long (negative: counted from the end)."""

    def cut(data: bytes) -> Sequence[bytes]:
        return tuple(piece for piece in (data[:offset], data[offset:]) if piece)

    cut.__name__ = f"split_at({offset})"
    return cut


def every_split(data: bytes) -> Iterator[Sequence[bytes]]:
    """The message in two pieces, once for each place where it can be cut."""
    for offset in range(1, len(data)):
        yield data[:offset], data[offset:]


DELIVERIES: tuple[Delivery, ...] = (in_one_write, byte_by_byte, split_at(1), split_at(-1))
"""Those worth trying over a real connection; :func:`every_split` is for machines, where it costs nothing."""
