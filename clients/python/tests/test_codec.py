"""Values to bytes and back."""

from __future__ import annotations

import array
import collections
import datetime
import enum
import math
import random
import sys
from typing import Any

import msgpack
import pytest

from proximity import Server, _codec, add_custom_encoding, remove_custom_encoding
from proximity.client import Proxy
from test_wire import assert_emit_form

pack = _codec.Packer().pack


def test_a_time_with_a_zone_is_the_same_moment_in_utc() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
    moment = datetime.datetime(2024, 1, 1, 0, 0, tzinfo=zone)
    assert _codec.unpack(pack(moment)) == datetime.datetime(2023, 12, 31, 18, 30)
    utc = datetime.datetime(2024, 1, 1, 12, 0, tzinfo=datetime.timezone.utc)
    assert _codec.unpack(pack(utc)) == datetime.datetime(2024, 1, 1, 12, 0)


def test_a_time_of_numpy_in_units_that_python_has_not_is_refused() -> None:
    numpy = pytest.importorskip("numpy")
    moment = numpy.datetime64("2024-01-01T12:00:00", "us")
    assert _codec.unpack(pack(moment)) == datetime.datetime(2024, 1, 1, 12, 0)
    for value in (numpy.datetime64(moment, "ns"), numpy.timedelta64(5, "ns")):
        with pytest.raises(TypeError, match="64 has no form on the wire"):
            pack(value)


def test_a_number_of_thousands_of_digits_is_told_by_its_bits() -> None:
    with pytest.raises(ValueError, match="a number of 19932 bits"):
        pack(10**6000)


@pytest.mark.parametrize(
    ("value", "head"),
    [
        ("a" * 31, b"\xbf"),
        ("a" * 32, b"\xda\x00\x20"),
        ("a" * 255, b"\xda\x00\xff"),
        ("a" * 65535, b"\xda\xff\xff"),
        ("a" * 65536, b"\xdb\x00\x01\x00\x00"),
        (b"", b"\xc4\x00"),
        (bytes(255), b"\xc4\xff"),
        (bytes(256), b"\xc5\x01\x00"),
        (bytes(65536), b"\xc6\x00\x01\x00\x00"),
        ([b""] * 15, b"\x9f"),
        ([b""] * 16, b"\xdc\x00\x10"),
        ([b""] * 65536, b"\xdd\x00\x01\x00\x00"),
        ({str(n): b"" for n in range(15)}, b"\x8f"),
        ({str(n): b"" for n in range(16)}, b"\xde\x00\x10"),
        (1.5, b"\xcb"),
        (True, b"\xc3"),
        (None, b"\xc0"),
        (127, b"\x7f"),
        (128, b"\xcc\x80"),
        (-33, b"\xd0"),
        (2**64 - 1, b"\xcf"),
        (-(2**63), b"\xd3"),
    ],
)
def test_the_form_of_a_value(value: Any, head: bytes) -> None:
    data = pack(value)
    assert data.startswith(head)
    assert_emit_form(data)
    assert msgpack.unpackb(data) == value


def random_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(10 if depth < 4 else 7)
    if kind == 0:
        return rng.choice((None, True, False))
    if kind == 1:
        return rng.randrange(-(2**63), 2**64)
    if kind == 2:
        return rng.randrange(-200, 200)
    if kind == 3:
        return rng.choice((0.0, -1.5, 1e300, math.inf, rng.random()))
    if kind in (4, 5):
        return "".join(rng.choices("aé\N{SNOWMAN}\0" + chr(0x1F600), k=rng.randrange(60)))
    if kind == 6:
        return rng.randbytes(rng.randrange(300))
    if kind == 7:
        return {str(n): random_value(rng, depth + 1) for n in range(rng.randrange(20))}
    return [random_value(rng, depth + 1) for _ in range(rng.randrange(20))]


def test_every_value_comes_back_in_the_right_form() -> None:
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    for _ in range(2000):
        value = random_value(rng)
        data = pack(value)
        assert_emit_form(data)
        assert _codec.unpack(data) == value, f"seed {seed}"
        assert _codec.unpack_request(data) == value, f"seed {seed}"
        assert _codec.from_json(_codec.to_json(value)) == value, f"seed {seed}"


class Colour(enum.IntEnum):
    RED = 3


class Name(str, enum.Enum):
    SYNTH = "synth"


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ((1, (2, b"x")), [1, [2, b"x"]]),
        (Colour.RED, 3),
        (Name.SYNTH, "synth"),
        (Point(1, 2), [1, 2]),
        (collections.OrderedDict(a=1), {"a": 1}),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (array.array("H", [1]), (1).to_bytes(2, sys.byteorder)),
        ([Colour.RED, {Name.SYNTH: bytearray(b"x")}], [3, {"synth": b"x"}]),
        (datetime.datetime(2014, 7, 2, 12, 0, 0, 1),) * 2,
        (datetime.timedelta(days=1, microseconds=500_000),) * 2,
        ([{"t": datetime.datetime(1, 1, 1)}],) * 2,
    ],
)
def test_what_python_has_more_kinds_of(value: Any, sent: Any) -> None:
    assert _codec.unpack(pack(value)) == sent
    assert_emit_form(pack(value))
    assert _codec.from_json(_codec.to_json(value)) == sent


def test_numpy_is_taken_where_bytes_are() -> None:
    numpy = pytest.importorskip("numpy")
    words = numpy.arange(5, dtype=">u4")
    assert _codec.unpack(pack(words)) == words.tobytes()
    assert _codec.unpack(pack(words.reshape(5, 1)[::2])) == words[::2].tobytes()
    assert _codec.unpack(pack([numpy.int64(-3), numpy.float32(1.5), numpy.bool_(True)])) == [
        -3,
        1.5,
        True,
    ]
    assert _codec.unpack(pack(numpy.array(7))) == 7
    # The bytes of these say nothing elsewhere.
    for odd in (numpy.array([1, "a"], dtype=object), numpy.longdouble(1.5)):
        with pytest.raises(TypeError, match=r"^numpy\.\w+ has no form on the wire"):
            pack(odd)


def test_times_at_every_depth_and_what_only_looks_like_one() -> None:
    stamp = {"__datetime__": True, "as_str": "20160115T12:34:56.000789"}
    expected = datetime.datetime(2016, 1, 15, 12, 34, 56, 789)
    assert _codec.unpack(msgpack.packb([[{"k": stamp}]])) == [[{"k": expected}]]
    assert (
        _codec.unpack_request(
            msgpack.packb({b"__datetime__": True, b"as_str": stamp["as_str"].encode()})
        )
        == expected
    )
    for odd in ({"__datetime__": True}, {"__datetime__": 1, "as_str": "x"}, {"__timedelta__": "a"}):
        assert _codec.unpack(msgpack.packb(odd)) == odd


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (2**64, ValueError, "a number in 18446744073709551616 does not fit in 64 bits"),
        (
            [1, -(2**63) - 1],
            ValueError,
            "a number in [1, -9223372036854775809] does not fit in 64 bits",
        ),
        ({1: 2}, TypeError, "dict key 1 is no text; the wire has text keys only"),
        ([{b"k": 2}], TypeError, "dict key b'k' is no text; the wire has text keys only"),
        (
            object(),
            TypeError,
            "builtins.object has no form on the wire; add_custom_encoding() can give it one",
        ),
        (
            {1, 2},
            TypeError,
            "builtins.set has no form on the wire; add_custom_encoding() can give it one",
        ),
        (
            "\ud800",
            ValueError,
            "'utf-8' codec can't encode character '\\ud800' in position 0: surrogates not allowed",
        ),
    ],
)
def test_what_has_no_form_is_said(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        pack(value)
    assert str(caught.value) == message
    if error is TypeError:
        with pytest.raises(error):
            _codec.to_json(value)


@pytest.mark.parametrize("empty", [list, dict])
def test_nesting_has_an_end(empty: type) -> None:
    value: Any = b"x"
    for _ in range(_codec.MAX_DEPTH):
        value = [value] if empty is list else {"k": value}
    assert _codec.unpack_request(pack(value)) == value
    deeper = [value]
    for give in (pack, _codec.to_json):
        with pytest.raises(ValueError, match="nest deeper than 32"):
            give(deeper)
    with pytest.raises(ValueError, match="nest deeper than 32"):
        _codec.unpack_request(msgpack.packb([deeper] * 2))


def test_the_number_of_values_has_an_end() -> None:
    most = msgpack.packb([0] * (_codec.MAX_ITEMS - 1))
    assert len(_codec.unpack_request(most)) == _codec.MAX_ITEMS - 1
    with pytest.raises(ValueError, match="more than 65536 values"):
        _codec.unpack_request(msgpack.packb([0] * _codec.MAX_ITEMS))
    with pytest.raises(ValueError, match="more than 65536 values"):
        _codec.from_json(b"[" + b"0," * _codec.MAX_ITEMS + b"0]")
    commas = '{"a": "' + "," * 70_000 + '\\"' + "[" * 70_000 + '"}'
    assert len(_codec.from_json(commas.encode())["a"]) == 140_001


class Reading:
    def __init__(self, volts: float) -> None:
        self.volts = volts


def encode_reading(o: list[Any]) -> list[Any]:
    return o if o[0] or not isinstance(o[1], Reading) else [True, {"__volts__": o[1].volts}]


def decode_reading(o: list[Any]) -> list[Any]:
    return o if o[0] or "__volts__" not in o[1] else [True, Reading(o[1]["__volts__"])]


def test_a_users_own_class_travels_both_ways(server: Server, proxy: Proxy) -> None:
    with pytest.raises(TypeError, match=r"test_codec\.Reading has no form on the wire"):
        proxy.echo(Reading(1.5))
    add_custom_encoding(encode_reading, decode_reading)
    try:
        back = proxy.echo([{"deep": Reading(1.5)}])
        assert isinstance(back[0]["deep"], Reading)
        assert back[0]["deep"].volts == 1.5
        assert proxy.echo({"plain": 1}) == {"plain": 1}
    finally:
        remove_custom_encoding(encode_reading, decode_reading)
    with pytest.raises(TypeError):
        proxy.echo(Reading(1.5))
