"""What names have stood for lately."""

from neosocksd_core.recent_answers import MOST_ADDRESSES, MOST_NAMES, RecentAnswers


def test_all_addresses_of_a_name_are_known_however_it_is_written() -> None:
    recent = RecentAnswers()
    recent.add("A.example", ("192.0.2.1",))
    recent.add("a.EXAMPLE.", ("192.0.2.2", "192.0.2.3"))
    recent.add("a.example", ("192.0.2.1",))
    assert recent.of("a.example") == ("192.0.2.2", "192.0.2.3", "192.0.2.1")
    assert recent.of("b.example") == ()


def test_neither_names_nor_addresses_grow_without_end() -> None:
    recent = RecentAnswers()
    for number in range(MOST_NAMES + 1):
        recent.add(f"{number}.example", ("192.0.2.1",))
    assert recent.of("0.example") == ()
    assert recent.of("1.example") == ("192.0.2.1",)
    for number in range(MOST_ADDRESSES + 1):
        recent.add("a.example", (f"192.0.{number // 256}.{number % 256}",))
    assert len(recent.of("a.example")) == MOST_ADDRESSES
    assert recent.of("a.example")[-1] == "192.0.1.0"
