"""Filters on filters."""

from neosocksd_core.errors import NeosocksdError
from neosocksd_core.filters import FilterState, stack


class Cipher:
    """Turns each byte by *key*; passes ends on; has a state that can be set."""

    def __init__(self, key: int) -> None:
        self.key = key
        self.client_ended = False
        self.upstream_ended = False
        self.failed = False
        self.failure: NeosocksdError | None = None
        self.state = FilterState.RELAY
        self._to_client = b""
        self._to_upstream = b""

    def from_client(self, data: bytes) -> None:
        self._to_upstream += bytes((byte + self.key) % 256 for byte in data)
        self.upstream_ended |= not data

    def from_upstream(self, data: bytes) -> None:
        self._to_client += bytes((byte - self.key) % 256 for byte in data)
        self.client_ended |= not data

    def upstream_failed(self) -> None:
        self.failed = True

    def to_client(self) -> bytes:
        data, self._to_client = self._to_client, b""
        return data

    def to_upstream(self) -> bytes:
        data, self._to_upstream = self._to_upstream, b""
        return data


class Answering(Cipher):
    """Asks the other side before it lets anything pass, as an encrypting protocol would."""

    def __init__(self) -> None:
        super().__init__(0)
        self._held = b""
        self._agreed = False

    def from_client(self, data: bytes) -> None:
        if self._agreed:
            super().from_client(data)
            return
        self._held += data
        self._to_upstream += b"?"

    def from_upstream(self, data: bytes) -> None:
        if not self._agreed and data.startswith(b"!"):
            self._agreed = True
            super().from_client(self._held)
            data = data[1:]
        super().from_upstream(data)


class Replying(Cipher):
    """Answers a question by itself, and passes on what is none."""

    def __init__(self) -> None:
        super().__init__(0)

    def from_client(self, data: bytes) -> None:
        if data == b"?":
            self._to_client += b"!"
        else:
            super().from_client(data)


def test_one_filter_is_itself() -> None:
    one = Cipher(1)
    assert stack([one]) is one


def test_bytes_pass_all_filters_in_their_order_both_ways() -> None:
    combined = stack([Cipher(1), Cipher(2), Cipher(4)])
    combined.from_client(b"\x00\x10")
    assert combined.to_upstream() == b"\x07\x17"
    combined.from_upstream(b"\x07\x17")
    assert combined.to_client() == b"\x00\x10"
    assert combined.state is FilterState.RELAY


def test_filters_may_talk_to_each_other_until_they_have_agreed() -> None:
    combined = stack([Answering(), Replying()])
    combined.from_client(b"hello")
    assert combined.to_upstream() == b"hello"
    assert combined.to_client() == b""


def test_ends_pass_all_filters() -> None:
    combined = stack([Cipher(1), Cipher(2)])
    combined.from_client(b"x")
    combined.from_client(b"")
    assert combined.upstream_ended
    assert not combined.client_ended
    combined.from_upstream(b"")
    assert combined.client_ended


def test_a_failure_of_the_upstream_reaches_all_filters() -> None:
    filters = [Cipher(1), Cipher(2)]
    stack(filters).upstream_failed()
    assert all(f.failed for f in filters)


def test_an_outer_filter_that_steps_aside_leaves_the_inner_one() -> None:
    outer, inner = Cipher(1), Cipher(2)
    combined = stack([outer, inner])
    combined.from_client(b"\x00")
    outer.state = FilterState.TUNNEL
    combined.from_upstream(b"\x07")
    assert combined.to_client() == b"\x04"
    combined.from_client(b"\x00")
    assert combined.to_upstream() == b"\x03\x02"
    combined.from_upstream(b"\x07")
    assert combined.to_client() == b"\x05"
    assert combined.state is FilterState.RELAY


def test_what_either_filter_wants_is_wanted_the_outer_one_first() -> None:
    outer, inner = Cipher(1), Cipher(2)
    combined = stack([outer, inner])
    for changed, state in ((inner, FilterState.ABORT), (outer, FilterState.NEXT)):
        changed.state = state
        assert combined.state is state


def test_a_client_that_is_to_be_left_unread_is_while_the_inner_filter_goes_on() -> None:
    outer, inner = Cipher(1), Cipher(2)
    combined = stack([outer, inner])
    for changed, state in ((outer, FilterState.HOLD), (inner, FilterState.CLOSE)):
        changed.state = state
        assert combined.state is state


def test_a_failure_of_either_filter_is_told_the_outer_ones_first() -> None:
    outer, inner = Cipher(1), Cipher(2)
    combined = stack([outer, inner])
    assert combined.failure is None
    for changed in (inner, outer):
        changed.failure = NeosocksdError("broken")
        assert combined.failure is changed.failure
