"""The address policy: what may be dialled, decided without a network."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alaas.data.network import check_literal, embedded, literal, may_dial, parse
from alaas.data.problem import ItemError

WEB = ("https", "http")
BAD_IPV4 = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.8.9.1",
    "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1",
    "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
]  # fmt: skip
GOOD_IPV4 = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "172.32.0.1", "100.128.0.1"]
BAD_IPV6 = [
    "::", "::1", "fe80::1", "fe80::1%2", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1",
    "ff0e::1", "100::1", "2001:db8::1", "2001:2::1", "2001:10::1", "3fff::1", "4000::1",
    "64:ff9b:1::808:808", "::ffff:0:808:808", "5f00::1",
]  # fmt: skip
GOOD_IPV6 = ["2606:4700:4700::1111", "2a00:1450:4001:80f::200e", "2001:4860:4860::8888"]


def wrapped(address: str) -> list[str]:
    """The IPv6 addresses that carry an IPv4 address, each by its own rule."""
    high, low = divmod(int(IPv4Address(address)), 2**16)
    inverse_high, inverse_low = high ^ 0xFFFF, low ^ 0xFFFF
    return [
        f"::ffff:{high:x}:{low:x}",
        f"::{high:x}:{low:x}",
        f"64:ff9b::{high:x}:{low:x}",
        f"2002:{high:x}:{low:x}::1",
        f"2001:0:808:808:0:0:{inverse_high:x}:{inverse_low:x}",
        f"2001:0:{high:x}:{low:x}:0:0:f7f7:f7f7",
    ]


@pytest.mark.parametrize("address", BAD_IPV4 + BAD_IPV6)
def test_row16_only_global_unicast_addresses_may_be_dialled(address: str) -> None:
    assert not may_dial(ip_address(address), 443)


@pytest.mark.parametrize("address", GOOD_IPV4 + GOOD_IPV6)
def test_public_addresses_may_be_dialled_on_the_ports_of_the_web_only(address: str) -> None:
    target = ip_address(address)
    assert may_dial(target, 80)
    assert may_dial(target, 443)
    assert not any(may_dial(target, port) for port in (0, 22, 25, 6379, 8080, 65535))


@pytest.mark.parametrize("address", BAD_IPV4)
def test_row18_an_address_inside_another_is_what_counts(address: str) -> None:
    for outer in wrapped(address):
        assert not may_dial(ip_address(outer), 443), outer


@pytest.mark.parametrize("address", GOOD_IPV4)
def test_a_public_address_inside_another_may_be_dialled(address: str) -> None:
    for outer in wrapped(address):
        assert IPv4Address(address) in embedded(IPv6Address(outer))
        assert may_dial(ip_address(outer), 443), outer


def test_a_listed_network_may_be_dialled_on_any_port_and_nothing_beside_it() -> None:
    networks = (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
    assert may_dial(ip_address("10.1.2.3"), 9000, networks)
    assert may_dial(ip_address("::ffff:10.1.2.3"), 9000, networks)
    assert may_dial(ip_address("fd12::1"), 9000, networks)
    assert not may_dial(ip_address("10.2.0.1"), 80, networks)
    assert not may_dial(ip_address("1.1.1.1"), 9000, networks)


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.1", "127.0.1", "127.0.0.1.",
        "0", "0x", "1.2.3.4.5", "256.1.1.1", "example.1", "8.8.8.8.", "010.8.8.8", "::1::", "::g",
    ],
)  # fmt: skip
def test_row17_an_address_in_an_odd_form_is_refused(host: str) -> None:
    with pytest.raises(ItemError) as caught:
        literal(host)
    assert caught.value.code == "uri_blocked"


@pytest.mark.parametrize("host", ["example.com", "example.com.", "1e100.net", "x.0a", "localhost"])
def test_a_name_is_no_literal(host: str) -> None:
    assert literal(host) is None


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1/", "http://127.0.0.1:80/", "http://①②⑦.⓪.⓪.①/", "http://127。0。0。1/",
        "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[0:0:0:0:0:0:0:1]/",
        "http://2130706433/", "http://0X7F.1/", "http://0177.0.0.1/", "http://[fe80::1%25eth0]/",
        "https://1.1.1.1:22/", "https://1.1.1.1:0/", "http://0/", "http://127.0.0.1./",
    ],
)  # fmt: skip
def test_row17_every_spelling_of_a_forbidden_address_is_blocked(uri: str) -> None:
    with pytest.raises(ItemError) as caught:
        check_literal(parse(uri, schemes=WEB), ())
    assert caught.value.code == "uri_blocked"


@pytest.mark.parametrize(
    "uri",
    [
        "http:/x", "http:x", "http://", "http:///x", "http://?x", "http://@/", "http://u@h/",
        "http://u:p@h/", "http://:@h/", "http://@h/", "http://h\\@evil/", "http://h/\r\nX: y",
        "http://h/\n", "http://h/\x00", "http://h\t/", "http://h/\x85", "http://h:99999/",
        "http://h:80:90/", "http://[::1/", "http://a b/", "http://a%00b/", "http://%31%32/",
        "http://a..b/", "http://.a/", "http://h,x/", "http://" + "a" * 64 + ".com/", "http://[v1.a]/",
        "http://xn--\ud800/",
    ],
)  # fmt: skip
def test_row21_malformed_addresses_are_invalid(uri: str) -> None:
    with pytest.raises(ItemError) as caught:
        parse(uri, schemes=WEB)
    assert caught.value.code == "uri_invalid"


def test_a_scheme_that_is_not_enabled_is_named_with_those_that_are() -> None:
    with pytest.raises(ItemError) as caught:
        parse("http://h/", schemes=("https",))
    assert caught.value.code == "scheme_disabled"
    assert "'http'" in caught.value.message
    assert "https" in caught.value.message


def test_path_and_query_of_an_ascii_address_are_kept_to_the_byte() -> None:
    signed = "/a/%7Eb%2fc+d/../e?X-Sig=%2B/+&y=a%20b&z="
    assert parse(f"https://Example.COM{signed}#part", schemes=WEB).raw_path_qs == signed


def test_other_addresses_are_encoded() -> None:
    url = parse("https://bücher.example/ü b?q=ß", schemes=WEB)
    assert url.raw_host == "xn--bcher-kva.example"
    assert url.raw_path_qs == "/%C3%BC%20b?q=%C3%9F"


@given(st.text() | st.builds("http://{}{}".format, st.text(max_size=20), st.text(max_size=20)))
def test_row21_no_text_gets_past_parse_but_as_a_valid_url(text: str) -> None:
    """Anything else than an `ItemError` fails this test."""
    with suppress(ItemError):
        url = parse(text, schemes=WEB)
        assert url.scheme in WEB
        assert url.raw_host
        assert url.raw_user is None
        assert url.raw_path_qs.isascii()
        address = literal(url.raw_host)
        assert address is None or str(address) == url.raw_host


@given(st.ip_addresses(v=6), st.sampled_from([80, 443, 8080]))
def test_whatever_is_dialled_leads_to_global_unicast(address: IPv6Address, port: int) -> None:
    if may_dial(address, port):
        assert port in {80, 443}
        assert all(may_dial(one, port) for one in embedded(address))
        assert not (address.is_private and not embedded(address))
        assert not address.is_multicast
