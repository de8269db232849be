"""Header fields in the order they came, found by name whatever its case (RFC 9110 section 5)."""

from collections.abc import Iterable, Iterator
from typing import Final


class Headers:
    """An immutable list of header fields, name and value in bytes.

    Names keep the case they were sent in and are looked up without regard to it. Nothing is checked
    here: what was read has been checked by the reader, what is to be written will be checked by the
    writer.
    """

    __slots__ = ("_fields", "_index")

    def __init__(self, fields: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Take *fields* as they are."""
        self._fields: Final = tuple(fields)
        self._index: dict[bytes, list[bytes]] | None = None

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the fields as name and value, in order."""
        return iter(self._fields)

    def __len__(self) -> int:
        """Count the fields."""
        return len(self._fields)

    def __contains__(self, name: object) -> bool:
        """Tell whether a field of this name is present."""
        return isinstance(name, bytes) and name.lower() in (self._index or self._make_index())

    def __eq__(self, other: object) -> bool:
        """Compare fields, order and spelling included."""
        return self._fields == other._fields if isinstance(other, Headers) else NotImplemented

    def __hash__(self) -> int:
        """Hash over all fields."""
        return hash(self._fields)

    def __repr__(self) -> str:
        """Show names and values, but for credentials."""
        shown = ", ".join(
            f"{name!r}: {'…' if name.lower().endswith(b'authorization') else repr(value)}"
            for name, value in self._fields
        )
        return f"Headers({{{shown}}})"

    def get(self, name: bytes) -> bytes | None:
        """Return the value of the first field called *name*, or None.

        Where a second field would matter, ask :meth:`get_all`.
        """
        values = (self._index or self._make_index()).get(name.lower())
        return values[0] if values else None

    def get_all(self, name: bytes) -> tuple[bytes, ...]:
        """Return the values of all fields called *name*, in order."""
        values = (self._index or self._make_index()).get(name.lower())
        return tuple(values) if values else ()

    def tokens(self, name: bytes) -> tuple[bytes, ...]:
        """Return the members, in lower case, of the list in all fields called *name*.

        Empty members are skipped (RFC 9110 section 5.6.1.2).
        """
        values = (self._index or self._make_index()).get(name.lower())
        if values is None:
            return ()
        members = (member.strip(b" \t") for value in values for member in value.lower().split(b","))
        return tuple(member for member in members if member)

    def without(self, names: Iterable[bytes]) -> "Headers":
        """Return the fields whose lower-case name is not among *names*."""
        unwanted = frozenset(names)
        return Headers(field for field in self._fields if field[0].lower() not in unwanted)

    def plus(self, *fields: tuple[bytes, bytes]) -> "Headers":
        """Return the fields followed by *fields*."""
        return Headers(self._fields + fields)

    def _make_index(self) -> dict[bytes, list[bytes]]:
        """Make the index, when it is first asked for."""
        index: dict[bytes, list[bytes]] = {}
        for name, value in self._fields:
            index.setdefault(name.lower(), []).append(value)
        self._index = index
        return index


NO_HEADERS: Final = Headers()
