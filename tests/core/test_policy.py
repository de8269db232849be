"""The block list and the guard, by every spelling of an address."""

import socket

import pytest

from neosocksd_core.addresses import pack_ip
from neosocksd_core.policy import AddressClass, Policy, classify, unmap
from neosocksd_core.settings import Settings


def packed(text: str) -> bytes:
    found = pack_ip(text)
    assert found is not None
    return found


def settings(**values: bool) -> Settings:
    return Settings.model_validate(values)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("0.0.0.0", AddressClass.UNSPECIFIED),
        ("0.1.2.3", AddressClass.UNSPECIFIED),
        ("::", AddressClass.UNSPECIFIED),
        ("::ffff:0.0.0.0", AddressClass.UNSPECIFIED),
        ("127.0.0.1", AddressClass.LOOPBACK),
        ("127.255.255.255", AddressClass.LOOPBACK),
        ("::1", AddressClass.LOOPBACK),
        ("::ffff:127.0.0.1", AddressClass.LOOPBACK),
        ("::127.0.0.1", AddressClass.LOOPBACK),
        ("64:ff9b::7f00:1", AddressClass.LOOPBACK),
        ("2002:7f00:1::", AddressClass.LOOPBACK),
        ("224.0.0.1", AddressClass.MULTICAST),
        ("239.255.255.255", AddressClass.MULTICAST),
        ("ff02::1", AddressClass.MULTICAST),
        ("::ffff:224.0.0.1", AddressClass.MULTICAST),
        ("10.0.0.1", AddressClass.LOCAL),
        ("172.16.0.1", AddressClass.LOCAL),
        ("172.31.255.255", AddressClass.LOCAL),
        ("192.168.0.1", AddressClass.LOCAL),
        ("169.254.169.254", AddressClass.LOCAL),
        ("192.0.0.8", AddressClass.LOCAL),
        ("::ffff:10.0.0.1", AddressClass.LOCAL),
        ("64:ff9b::a00:1", AddressClass.LOCAL),
        ("2002:c0a8:1::", AddressClass.LOCAL),
        ("fc00::1", AddressClass.LOCAL),
        ("fdff::1", AddressClass.LOCAL),
        ("fe80::1%eth0", AddressClass.LOCAL),
        ("fec0::1", AddressClass.LOCAL),
        ("172.15.0.1", AddressClass.GLOBAL),
        ("172.32.0.1", AddressClass.GLOBAL),
        ("100.64.0.1", AddressClass.GLOBAL),
        ("8.8.8.8", AddressClass.GLOBAL),
        ("2001:db8::1", AddressClass.GLOBAL),
        ("64:ff9b::808:808", AddressClass.GLOBAL),
    ],
)
def test_each_spelling_has_the_class_of_where_it_leads(text: str, kind: AddressClass) -> None:
    assert classify(packed(text)) is kind


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("block_loopback", "127.0.0.1"),
        ("block_multicast", "224.0.0.1"),
        ("block_local", "10.0.0.1"),
        ("block_global", "8.8.8.8"),
    ],
)
def test_a_class_is_blocked_by_its_setting_alone(field: str, text: str) -> None:
    for other in ("127.0.0.1", "224.0.0.1", "10.0.0.1", "8.8.8.8"):
        policy = Policy(settings(**{"block_multicast": False, field: True}))
        assert policy.permits(packed(other)) is (other != text)


@pytest.mark.parametrize("text", ["0.0.0.0", "::", "0.0.0.1", "::ffff:0.0.0.0"])
def test_unspecified_addresses_are_refused_always(text: str) -> None:
    assert not Policy(settings(block_multicast=False)).permits(packed(text))


@pytest.mark.parametrize(
    ("listener", "target", "guarded"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "::", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "::1", False),
        ("::1", "::1", True),
        ("0.0.0.0", "127.0.0.2", True),
        ("::", "127.0.0.1", True),
        ("::", "::1", True),
        ("0.0.0.0", "192.0.2.1", False),
    ],
)
def test_a_listener_is_guarded_by_all_that_reaches_it(
    listener: str, target: str, guarded: bool
) -> None:
    policy = Policy(settings(), [(listener, 9080)])
    assert policy.is_guarded(packed(target), 9080) is guarded
    assert not policy.is_guarded(packed(target), 9081)


def test_a_listener_on_all_addresses_is_guarded_by_this_machines_own() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        own = probe.getsockname()[0]
    assert Policy(settings(), [("0.0.0.0", 9080)]).is_guarded(packed(own), 9080)


def test_a_mapped_address_is_its_ipv4_address() -> None:
    assert unmap(packed("::ffff:1.2.3.4")) == packed("1.2.3.4")
    assert unmap(packed("::1.2.3.4")) == packed("::1.2.3.4")
