"""Values to bytes and back, in the forms that every client since 2013 can read.

Text goes out as fixstr, str16 or str32 and never as str8, bytes as bin, numbers in their smallest
form, floats as f64, and map keys as text. Read is whatever any of those clients sends. A message
that begins with ``{`` or a blank is JSON, with bytes as ``{"__bytes__": base64}``.
"""

from __future__ import annotations

import datetime
import json
import math
import operator
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

import msgpack

MAX_FRAME = 32 << 20
"""Bytes of a whole message, unless agreed otherwise."""

MAX_ITEMS = 65_536
"""Values in one message, counted through all its lists and dicts."""

MAX_DEPTH = 32
"""How deep lists and dicts may nest."""

Handled = list[Any]
"""``[handled, value]``: what encoders and decoders take and return."""

_encoders: list[Callable[[Handled], Handled]] = []
_decoders: list[Callable[[Handled], Handled]] = []

_SMALL = 1024
_SCALARS = frozenset((int, float, bool, type(None), str))
_JSON_FIRST = b"{ \t\r\n"
_TIME_FORMAT = "%Y%m%dT%H:%M:%S.%f"
_JSON_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_JSON_ODD = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def add_custom_encoding(
    encoder: Callable[[Handled], Handled], decoder: Callable[[Handled], Handled]
) -> None:
    """Teaches this process to send and receive a class of its own.

    Both take and return a list ``[handled, value]``. They leave it as it is where ``handled`` is
    true already or the value is none of theirs; else they set ``handled`` and replace the value.

    encoder: sees every value that has no form on the wire; makes it one that has
    decoder: sees every dict that arrives; makes it the value it stands for
    """
    _encoders.append(encoder)
    _decoders.append(decoder)


def remove_custom_encoding(
    encoder: Callable[[Handled], Handled], decoder: Callable[[Handled], Handled]
) -> None:
    """Takes back what `add_custom_encoding` did."""
    _encoders.remove(encoder)
    _decoders.remove(decoder)


class Packer:
    """Writes values. For one thread at a time."""

    def __init__(self) -> None:
        # Without bin types msgpack writes text just as the wire wants it; bytes are left to us.
        self.flat: Callable[[Any], bytes] = msgpack.Packer(use_bin_type=False).pack

    def pack(self, value: Any) -> bytes:
        """Gives `value` as MessagePack; raises as `put`."""
        parts: list[bytes] = []
        self.put(value, parts)
        return b"".join(parts)

    def put(self, value: Any, parts: list[bytes], depth: int = 0) -> None:
        """Appends the pieces of `value` as MessagePack, so that large ones are copied only once.

        Raises TypeError for what has no form on the wire, ValueError for what is beyond its limits.
        """
        kind = type(value)
        if kind is list or kind is tuple:
            if _SCALARS.issuperset(map(type, value)):
                parts.append(self._number(value))
                return
            _descend(depth)
            parts.append(_head(len(value), (0xDC, 0xDD), 0x90))
            for item in value:
                self.put(item, parts, depth + 1)
        elif kind in _SCALARS:
            parts.append(self._number(value))
        elif kind is bytes:
            parts.append(_head(len(value), (0xC4, 0xC5, 0xC6)))
            parts.append(value)
        elif kind is dict:
            _descend(depth)
            parts.append(_head(len(value), (0xDE, 0xDF), 0x80))
            for key, item in value.items():
                if not isinstance(key, str):
                    raise TypeError(
                        f"dict key {_short(key)} is no text; the wire has text keys only"
                    )
                parts.append(self.flat(str.__str__(key)))
                self.put(item, parts, depth + 1)
        else:
            self.put(plain(value), parts, depth)

    def _number(self, value: Any) -> bytes:
        try:
            return self.flat(value)
        except OverflowError:
            raise ValueError(f"a number in {_short(value)} does not fit in 64 bits") from None


def _head(count: int, markers: tuple[int, ...], fix: int | None = None) -> bytes:
    """The head of a bin, list or dict: the smallest form that holds `count`."""
    if fix is not None:
        if count < 16:
            return bytes((fix | count,))
        return struct.pack(">BH" if count < 1 << 16 else ">BI", markers[count >= 1 << 16], count)
    if count < 1 << 8:
        return struct.pack(">BB", markers[0], count)
    if count < 1 << 16:
        return struct.pack(">BH", markers[1], count)
    return struct.pack(">BI", markers[2], count)


def _descend(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise ValueError(f"lists and dicts nest deeper than {MAX_DEPTH}")


def plain(value: Any) -> Any:
    """Gives the value of a kind the wire has that stands for `value`, one level deep.

    Raises TypeError where there is none.
    """
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:  # the wire has no zones
            value = value.astimezone(datetime.timezone.utc)
        # strftime leaves out the zeros of an early year.
        text = f"{value.year:04}{value:%m%dT%H:%M:%S.%f}"
        return {"__datetime__": True, "as_str": text}
    if isinstance(value, datetime.timedelta):
        return {"__timedelta__": True, "total_seconds": value.total_seconds()}
    handled: Handled = [False, value]
    for encoder in _encoders:
        handled = encoder(handled)
    if handled[0] and handled[1] is not value:
        return handled[1]
    # Subclasses of the plain kinds: IntEnum, namedtuple, defaultdict, ...
    if isinstance(value, str):
        return str.__str__(value)
    kinds: tuple[Any, ...] = (int, float, bytes)
    for kind in kinds:
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, (dict, Mapping)):
        return dict(value)
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        number = value.item()  # of numpy, as long as Python has such a one
        # Of a time in units that Python does not have, it is only the count.
        is_count = type(number) is int and getattr(value.dtype, "kind", "") in "mM"
        if type(number) is not type(value) and not is_count:
            return number
        raise _no_form(value)
    for reading in (_buffer, operator.index):
        try:
            return reading(value)
        except (TypeError, ValueError):
            continue
    raise _no_form(value)


def _no_form(value: Any) -> TypeError:
    return TypeError(
        f"{type(value).__module__}.{type(value).__qualname__} has no form on the wire; "
        "add_custom_encoding() can give it one"
    )


def _buffer(value: Any) -> bytes:
    """Gives the bytes of a bytearray, a numpy array, an array.array, ..."""
    if getattr(getattr(value, "dtype", None), "hasobject", False):
        raise TypeError("the bytes of an array of objects are where they are in memory")
    return memoryview(value).tobytes()


def decoded(value: dict[Any, Any]) -> Any:
    """Gives what a dict that arrived stands for: itself, a time, or what a user's decoder makes."""
    if "__datetime__" in value or "__timedelta__" in value:
        return _time(value)
    if not _decoders:
        return value
    handled: Handled = [False, value]
    for decoder in _decoders:
        handled = decoder(handled)
    return handled[1]


def _time(value: dict[Any, Any]) -> Any:
    try:
        if "__datetime__" in value:
            return datetime.datetime.strptime(_text(value["as_str"]), _TIME_FORMAT)
        return datetime.timedelta(seconds=value["total_seconds"])
    except (KeyError, OverflowError, TypeError, ValueError):
        return value  # it only looks like a time


class OddKeyError(TypeError):
    """A dict with a key that is no text."""


def _decoded_strictly(pairs: list[tuple[Any, Any]]) -> Any:
    """As `decoded`, for requests: keys may be bytes that are text, and nothing else."""
    value = {key if type(key) is str else _key(key): item for key, item in pairs}
    if len(value) != len(pairs):
        raise ValueError("a dict in the request has a key twice")
    return decoded(value)


def _no_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"the wire has no extension types; the request has one of type {code}")


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bytes):
        return key.decode()
    raise OddKeyError(f"a dict in the request has the key {_short(key)}, which is no text")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def unpack(data: bytes | memoryview) -> Any:
    """Reads one MessagePack value that a server sent."""
    # Most replies are small and hold no dict that stands for something: no need to look at each.
    if type(data) is bytes and len(data) < _SMALL and b"__" not in data and not _decoders:
        try:
            return msgpack.unpackb(data)
        except ValueError:
            pass  # what is odd about it is seen to below
    return _unpack(data, object_hook=decoded)


def unpack_bare(data: bytes | memoryview) -> Any:
    """Reads one MessagePack value without what decoders make of its dicts."""
    return msgpack.unpackb(data, strict_map_key=False, unicode_errors="surrogateescape")


def unpack_request(data: bytes) -> Any:
    """Reads one MessagePack value that anybody sent.

    Raises OddKeyError for a dict with keys that are no text, else ValueError for bytes that are no
    value, or beyond the limits.
    """
    # Every value has at least one byte, and every level of nesting one of its own, so that most
    # messages need no look at each of their values.
    if len(data) > MAX_ITEMS or len(data.translate(None, _NOT_NESTING)) > MAX_DEPTH:
        _check(data)
    try:
        return _unpack(data, object_pairs_hook=_decoded_strictly, ext_hook=_no_extension)
    except OddKeyError:
        raise
    except Exception as error:  # msgpack has many, and so have decoders
        raise ValueError(
            f"not a MessagePack value: {str(error) or type(error).__name__}"
        ) from error


def _unpack(data: bytes | memoryview, **options: Any) -> Any:
    try:
        return msgpack.unpackb(data, strict_map_key=False, **options)
    except UnicodeDecodeError:
        # Text that is no UTF-8 is what Python 2 calls str and we call bytes.
        options["unicode_errors"] = "surrogateescape"
        return _unescaped(msgpack.unpackb(data, strict_map_key=False, **options))


def _unescaped(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode(errors="surrogateescape")
    elif isinstance(value, list):
        return [_unescaped(item) for item in value]
    elif isinstance(value, dict):
        return {key: _unescaped(item) for key, item in value.items()}
    return value


_NESTS = (*range(0x80, 0xA0), *range(0xDC, 0xE0))
_NOT_NESTING = bytes(byte for byte in range(256) if byte not in _NESTS)
# Bytes of the length, of the value behind it, and lists in it: by first byte.
_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_FIXED.update({0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8})
_NESTING = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def _check(data: bytes) -> None:
    """Walks over a message and raises ValueError where it has too many values, or too deep.

    The values of hostile bytes take a hundred times their room once they are Python's.
    """
    position, left, items = 0, [1], 0
    while left:
        if left[-1] == 0:
            left.pop()
            continue
        left[-1] -= 1
        items += 1
        if items > MAX_ITEMS:
            raise ValueError(f"the message has more than {MAX_ITEMS} values")
        if position >= len(data):
            raise ValueError("the message ends in the middle of a value")
        marker = data[position]
        position += 1
        if marker < 0x80 or marker >= 0xE0:
            continue
        if marker < 0xA0:
            left.append((marker & 15) * (2 if marker < 0x90 else 1))
        elif marker < 0xC0:
            position += marker & 31
        elif marker in _FIXED:
            position += _FIXED[marker]
        elif marker in _LENGTHS:
            end = position + _LENGTHS[marker]
            position = end + int.from_bytes(data[position:end], "big")
        elif marker in _NESTING:
            width, each = _NESTING[marker]
            left.append(int.from_bytes(data[position : position + width], "big") * each)
            position += width
        else:
            raise ValueError(f"the wire has no values of the kind {marker:#04x}")
        if len(left) > MAX_DEPTH + 1:
            raise ValueError(f"lists and dicts nest deeper than {MAX_DEPTH}")


def is_json(data: bytes) -> bool:
    """Whether a message is JSON: no MessagePack map begins with these bytes."""
    return data[:1] in _JSON_FIRST and data != b""


def from_json(data: bytes) -> Any:
    """Reads a request in JSON. Raises ValueError for what is none, or beyond the limits."""
    if len(data) > MAX_ITEMS:
        bare = _JSON_TEXT.sub(b"", data)
        if sum(map(bare.count, (b",", b"[", b"{"))) > MAX_ITEMS:
            raise ValueError(f"not a request in JSON: it has more than {MAX_ITEMS} values")
    try:
        return json.loads(data, object_hook=_from_json_dict)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a request in JSON: {error}") from error


def _from_json_dict(value: dict[str, Any]) -> Any:
    if len(value) == 1:
        if "__bytes__" in value:
            import base64

            return base64.b64decode(value["__bytes__"], validate=True)
        if "__float__" in value:
            return _JSON_ODD[value["__float__"]]
    return decoded(value)


def to_json(value: Any) -> bytes:
    """Gives `value` as JSON text; raises as `Packer.pack`."""
    return json.dumps(jsonable(value), ensure_ascii=False, allow_nan=False).encode()


def jsonable(value: Any, depth: int = 0) -> Any:
    """Gives `value` in the JSON dialect, before it is text."""
    kind = type(value)
    if kind is float and not math.isfinite(value):
        return {"__float__": str(value)}
    if kind in _SCALARS:
        return value
    if kind is bytes:
        import base64

        return {"__bytes__": base64.b64encode(value).decode()}
    if kind is list or kind is tuple:
        _descend(depth)
        return [jsonable(item, depth + 1) for item in value]
    if kind is dict:
        _descend(depth)
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"dict key {_short(key)} is no text; the wire has text keys only")
        return {str.__str__(key): jsonable(item, depth + 1) for key, item in value.items()}
    return jsonable(plain(value), depth)


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an int with more digits than Python likes to print
        text = f"a number of {value.bit_length()} bits"
    return text if len(text) <= 60 else text[:57] + "..."
