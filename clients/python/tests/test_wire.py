"""The published wire, against the messages recorded from the original."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import random
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import zmq

from conftest import LOOPBACK, ROOT, Raw
from objects import WireFoo
from proximity import Server
from proximity._codec import Packer
from proximity._session import Holding, Session, Target, positive

GOLDEN = ROOT / "tests" / "golden"
PAIRS = json.loads((GOLDEN / "wire.json").read_text())["pairs"]
# The intended differences: what the original did, and what is answered instead.
REFUSED = {"int_key_map": ("TypeError", None), "private_method": ("KeyError", "'_private'")}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = Server(LOOPBACK)
    server.expose("foo", WireFoo())
    with server:
        yield server.url


@pytest.fixture(scope="module")
def raw(url: str) -> Iterator[Raw]:
    with Raw(url) as raw:
        yield raw


def loosely(data: bytes) -> Any:
    """Decodes without telling text from bytes, which the dialects tell apart differently."""
    return msgpack.unpackb(data, raw=True, strict_map_key=False)


def exception(reply: bytes) -> tuple[str, str, list[str]]:
    value = msgpack.unpackb(reply)
    assert list(value) == ["EXCEPTION"], value
    kind, message, lines = value["EXCEPTION"]
    assert lines, "an exception has at least one line of detail"
    assert all(isinstance(line, str) for line in lines)
    return kind, message, lines


def assert_emit_form(data: bytes) -> None:
    """Walks over a reply: text never str8, smallest numbers, f64, text keys, nothing behind."""
    end = walk(data, 0)
    assert end == len(data)


def walk(data: bytes, at: int, key: bool = False) -> int:
    first = data[at]
    is_text = 0xA0 <= first <= 0xBF or first in (0xDA, 0xDB)
    assert not key or is_text, f"a key that is no text: {first:#x}"
    assert first not in (0xD9, 0xCA, 0xC1, 0xC7, 0xC8, 0xC9), f"{first:#x} is never emitted"
    assert not 0xD4 <= first <= 0xD8
    number = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}.get(first)
    if number:
        value = msgpack.unpackb(data[at : at + 1 + number])
        assert msgpack.packb(value) == data[at : at + 1 + number], f"{value} not in smallest form"
        return at + 1 + number
    if first < 0x80 or first >= 0xE0 or first in (0xC0, 0xC2, 0xC3):
        return at + 1
    if first == 0xCB:
        return at + 9
    if first < 0xA0 or first in (0xDC, 0xDD, 0xDE, 0xDF):
        width = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}.get(first, 0)
        count = int.from_bytes(data[at + 1 : at + 1 + width], "big") if width else first & 15
        at += 1 + width
        is_map = first < 0x90 or first in (0xDE, 0xDF)
        for _ in range(count):
            at = walk(data, walk(data, at, key=True) if is_map else at)
        return at
    width = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xDA: 2, 0xDB: 4}.get(first, 0)
    size = int.from_bytes(data[at + 1 : at + 1 + width], "big") if width else first & 31
    end = at + 1 + width + size
    if is_text:
        data[at + 1 + width : end].decode()
    return end


def test_the_golden_messages_are_the_recorded_ones() -> None:
    sums = dict(reversed(line.split()) for line in (GOLDEN / "SHA256SUMS").read_text().splitlines())
    for name in ("wire.json", "wire-v2/messages.txt"):
        assert hashlib.sha256((GOLDEN / name).read_bytes()).hexdigest() == sums[name]
    assert len(PAIRS) == 208
    assert len({pair["dialect"] for pair in PAIRS}) == 6
    assert len({pair["case"] for pair in PAIRS}) == 35


@pytest.mark.parametrize("pair", PAIRS, ids=[f"{pair['case']}-{pair['dialect']}" for pair in PAIRS])
def test_a_recorded_request_gets_the_recorded_reply(raw: Raw, pair: dict[str, Any]) -> None:
    reply = raw.ask(bytes.fromhex(pair["request_hex"]))
    assert_emit_form(reply)
    if pair["case"] in REFUSED:
        kind, message = REFUSED[pair["case"]]
        told = exception(reply)
        assert told[0] == kind
        assert message is None or told[1] == message
    elif pair.get("reply_hex"):
        ours, theirs = loosely(reply), loosely(bytes.fromhex(pair["reply_hex"]))
        if pair["case"] == "list_methods":
            ours, theirs = ({tuple(row) for row in rows} for rows in (ours, theirs))
        assert ours == theirs
    else:
        (kind,) = pair["reply"]["exception_class"].values()
        (message,) = pair["reply"]["exception_message"].values()
        told = exception(reply)
        assert told[0] == kind
        if kind != "TypeError":
            assert told[1] == message


def call(**parts: Any) -> bytes:
    return msgpack.packb(parts)


@pytest.mark.parametrize("missing", ["name", "proc", "args", "kwargs"])
def test_a_missing_key_is_a_key_error_with_its_name(raw: Raw, missing: str) -> None:
    parts = {"name": "foo", "proc": "echo", "args": [1], "kwargs": {}}
    del parts[missing]
    assert exception(raw.ask(call(**parts)))[:2] == ("KeyError", repr(missing))


def test_keys_and_names_may_be_bytes(raw: Raw) -> None:
    request = {b"name": b"foo", b"proc": b"kw", b"args": [b"a"], b"kwargs": {b"k": 1}}
    assert msgpack.unpackb(raw.ask(msgpack.packb(request))) == [[b"a"], {"k": 1}]


def test_text_that_is_no_utf_8_is_bytes(raw: Raw) -> None:
    args = b"\xa4args\x91\x82\xa1a\xa2\xff\x00\xa1b\x92\xa1x\xa1\xfe"
    reply = raw.ask(b"\x84\xa4name\xa3foo\xa4proc\xa4echo" + args + b"\xa6kwargs\x80")
    assert msgpack.unpackb(reply) == {"a": b"\xff\x00", "b": ["x", b"\xfe"]}


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (b"", "ValueError"),
        (b"\xc1", "ValueError"),
        (b"\x84\xa4name", "ValueError"),
        (b"\x05", "TypeError"),
        (b"\xc0", "TypeError"),
        (b"\x80", "KeyError"),
        (b"\x91" * 600 + b"\x90", "ValueError"),
        (b"\xdd\xff\xff\xff\xff", "ValueError"),
        (b"\xc6\xff\xff\xff\xff", "ValueError"),
        (msgpack.packb({"name": 5, "proc": "x", "args": [], "kwargs": {}}), "TypeError"),
        (msgpack.packb({"name": "foo", "proc": "echo", "args": 5, "kwargs": {}}), "TypeError"),
        (msgpack.packb({"name": "foo", "proc": "echo", "args": [1], "kwargs": []}), "TypeError"),
        (msgpack.packb({"name": "f" * 300, "proc": "x", "args": [], "kwargs": {}}), "ValueError"),
        (
            msgpack.packb({"name": "foo", "proc": "echo", "args": [1], "kwargs": {}}) + b"\0",
            "ValueError",
        ),
        (
            b"\x85\xa4name\xa3foo\xa4name\xa3foo\xa4proc\xa4echo\xa4args\x91\x01\xa6kwargs\x80",
            "ValueError",
        ),
        (msgpack.packb(msgpack.ExtType(5, b"x")), "ValueError"),
        (b"\x81\xd6\xff\0\0\0\0\x01", "TypeError"),
        (b"\x81\x90\x01", "TypeError"),
        (b"{", "ValueError"),
        (
            b'{"name": "foo", "proc": "echo", "args": [{"__bytes__": "!"}], "kwargs": {}}',
            "ValueError",
        ),
    ],
)
def test_what_is_no_request_is_answered_and_nothing_ends(
    raw: Raw, request_: bytes, kind: str
) -> None:
    reply = raw.ask(request_)
    if request_[:1] == b"{":
        assert json.loads(reply)["EXCEPTION"][0] == kind
    else:
        assert exception(reply)[0] == kind
    assert raw.ask(call(name="foo", proc="echo", args=[1], kwargs={})) == b"\x01"


@pytest.mark.parametrize("result", [object(), {1: 2}, {"deep": {b"k": 1}}, 2**64, "\ud800"])
def test_a_result_that_cannot_be_sent_is_an_error(result: Any) -> None:
    foo = WireFoo()
    foo.echo = lambda v: result  # type: ignore[method-assign]
    server = Server(LOOPBACK)
    server.expose("foo", foo)
    with server, Raw(server.url) as raw:
        kind, message, _ = exception(raw.ask(call(name="foo", proc="echo", args=[1], kwargs={})))
        assert kind == "TypeError"
        assert message.startswith("foo.echo returned what cannot be sent: ")


def test_too_many_values_are_refused_before_they_are_made(raw: Raw) -> None:
    # 8 MiB that would become half a gigabyte of Python lists.
    nested = msgpack.packb([[] for _ in range(60_000)])
    request = (
        b"\x84\xa4name\xa3foo\xa4proc\xa4echo\xa6kwargs\x80\xa4args\xdc\x00\x64" + nested * 100
    )
    kind, message, _ = exception(raw.ask(request))
    assert (kind, message) == ("ValueError", "the message has more than 65536 values")


def test_a_large_argument_is_no_trouble(raw: Raw) -> None:
    data = bytes(16 << 20)
    reply = raw.ask(call(name="foo", proc="echo", args=[data], kwargs={}))
    assert msgpack.unpackb(reply, max_bin_len=1 << 30) == data


def test_one_reply_or_none_whatever_is_sent() -> None:
    """Random and mutated frames, each with a reply; the server lives."""
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    good = [bytes.fromhex(pair["request_hex"]) for pair in PAIRS]
    session = Session("tcp://127.0.0.1:1")
    for op in ("call", "get", "set", "cancel", "describe", "hello"):
        good.append(session.request(Packer(), Target(op, "foo", "echo"), (1,), {}, 1.0, 1))
    foo = WireFoo()
    server = Server(LOOPBACK)
    server.expose("foo", foo)
    count = 20_000
    with server:
        dealer = zmq.Context.instance().socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.RCVTIMEO, 20_000)
        dealer.connect(server.url)
        waiting = 0
        for number in range(count):
            frame = bytearray(rng.choice(good))
            for _ in range(rng.randrange(4)):
                frame[rng.randrange(len(frame))] = rng.randrange(256)
            if rng.random() < 0.2:
                del frame[rng.randrange(len(frame)) :]
            if rng.random() < 0.1:
                frame = bytearray(rng.randbytes(rng.randrange(40)))
            dealer.send_multipart([b"%d" % number, b"", bytes(frame)][1:])
            waiting += 1
            if waiting == 24:
                for _ in range(waiting):
                    assert dealer.recv_multipart(), f"seed {seed}"
                waiting = 0
        for _ in range(waiting):
            assert dealer.recv_multipart(), f"seed {seed}"
        assert not dealer.poll(50), f"more replies than requests; seed {seed}"
        dealer.close()
        with Raw(server.url) as raw:
            assert raw.ask(call(name="foo", proc="add_two", args=[2, 3], kwargs={})) == b"\x05"


@pytest.mark.parametrize(
    "frames", [[b"a", b"b"], [b"", b"a", b"b"], [b"", b"", b"a"], [b"a"] * 40, [b""]]
)
def test_a_message_of_other_frames_is_answered(url: str, frames: list[bytes]) -> None:
    dealer = zmq.Context.instance().socket(zmq.DEALER)
    dealer.setsockopt(zmq.LINGER, 0)
    dealer.setsockopt(zmq.RCVTIMEO, 10_000)
    dealer.connect(url)
    dealer.send_multipart(frames)
    assert exception(dealer.recv_multipart()[-1])[0] == "ValueError"
    dealer.close()


def test_json_is_answered_in_json(raw: Raw) -> None:
    def ask(**parts: Any) -> Any:
        return json.loads(raw.ask(json.dumps(parts).encode()))

    assert ask(name="foo", proc="add_two", args=[2, 3], kwargs={}) == 5
    data = {"__bytes__": base64.b64encode(b"\0\xff").decode()}
    assert ask(name="foo", proc="echo", args=[data], kwargs={}) == data
    for odd in ("nan", "inf", "-inf"):
        value = {"__float__": odd}
        assert ask(name="foo", proc="echo", args=[value], kwargs={}) == value
    assert ask(name="foo", proc="when", args=[], kwargs={})["as_str"] == "20160115T12:34:56.000789"
    told = ask(name="foo", proc="div_two", args=[1, 0], kwargs={})
    assert told["EXCEPTION"][0] == "ZeroDivisionError"
    envelope = ask(v=2, id=[{"__bytes__": base64.b64encode(bytes(16)).decode()}, 7], op="hello")
    assert envelope["id"][1] == 7
    assert envelope["ok"]["objects"].keys() == {"foo"}
    assert (
        json.loads(raw.ask(b' \n{"name": "foo", "proc": "no_return", "args": [], "kwargs": {}}'))
        is None
    )


def golden_messages() -> dict[str, bytes]:
    lines = [
        line
        for line in (GOLDEN / "wire-v2" / "messages.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    return {name: bytes.fromhex(data) for name, data in zip(lines[::2], lines[1::2])}


LEASE = Holding.of(b"fedcba9876543210")


@pytest.mark.parametrize(
    ("name", "target", "args"),
    [
        ("hello", Target("hello"), ()),
        ("describe", Target("describe", "foo"), ()),
        ("call", Target("call", "foo", "add_two"), (2, 3)),
        ("get", Target("get", "counter", "value"), ()),
        ("set", Target("set", "counter", "value"), (-5,)),
        ("cancel", Target("cancel"), ((b"0123456789abcdef", 257),)),
        ("renew", Target("renew", "srbs", holding=LEASE), (10_000,)),
        ("release", Target("release", "srbs", holding=LEASE), ()),
        ("leases", Target("leases"), ()),
        ("call under a lease", Target("call", "srbs", "progdev", LEASE), ()),
        ("call with credit", Target("call", "srbs", "read"), ("big_bram",)),
        ("credit", Target("credit"), (4,)),
    ],
)
def test_our_requests_are_the_released_ones(
    name: str, target: Target, args: tuple[Any, ...]
) -> None:
    session = Session("tcp://127.0.0.1:1")
    hello = msgpack.unpackb(golden_messages()["message ok hello"])
    session.greet({**hello, "ok": {**hello["ok"], "now": 70_000}}, 0.0)
    session._v_id = session._v_id[:-16] + b"0123456789abcdef"
    session.chunks = name == "call with credit"
    data = session.request(Packer(), target, args, {}, 0.0, 257)
    expected = msgpack.unpackb(golden_messages()[f"request {name}"])
    ours = msgpack.unpackb(data)
    assert list(ours) == list(expected), "keys in their released order"
    if "expires" in ours:
        assert ours.pop("expires") == 70_000
        del expected["expires"]
    expected["id"][1] = 257
    if "credit" in ours:
        assert ours.pop("credit") == 16
        assert expected.pop("credit") > 0
    expected["args"] = [list(arg) if isinstance(arg, tuple) else arg for arg in args]
    assert ours == expected


@pytest.mark.parametrize("timeout", [25 * 3600.0, 1e30, math.inf])
def test_a_call_that_may_take_for_ever_is_wanted_for_less_than_a_day(timeout: float) -> None:
    session = Session("tcp://127.0.0.1:1")
    hello = msgpack.unpackb(golden_messages()["message ok hello"])
    session.greet({**hello, "ok": {**hello["ok"], "now": 70_000}}, 1000.0)
    target = Target("call", "srbs", "progdev")
    deadline = 1010.0 + positive(timeout, 1.0)
    asked = msgpack.unpackb(session.request(Packer(), target, (), {}, deadline, 1))
    assert 22 * 3600_000 < asked["expires"] - 70_000 < 24 * 3600_000


@pytest.mark.parametrize("name", [n for n in golden_messages() if n.startswith("message")])
def test_the_released_messages_are_understood(name: str) -> None:
    from proximity._session import is_answer

    reply = msgpack.unpackb(golden_messages()[name])
    session, target = Session("tcp://127.0.0.1:1"), Target("call", "foo", "echo")
    session.client = reply["id"][0] if reply["id"] else b""
    if "progress" in reply or "chunk" in reply:
        assert not is_answer(reply, session, target, 258)
        return
    assert is_answer(reply, session, target, 258)
    if reply["id"]:
        session.client = session.client[::-1]
        assert not is_answer(reply, session, target, 258), "it is another client's"
    if name == "message ok hello":
        session.greet(reply, 1.0)
        assert session.objects == {"animals.angry": 7, "foo": 2**64 - 1}
    elif "error" in reply:
        error = session.failure(reply, target)
        kinds = {
            "message refused": "NotExecuted",
            "message perhaps executed": "RemoteError",
            "message error of the object": "KeyError",
            "message error before the method ran": "TypeError",
            "message without id": "ValueError",
        }
        if reply["error"]["reason"] is None or name == "message refused":
            expected = kinds[name]
            assert type(error).__name__ in (expected, reply["error"]["class"])
