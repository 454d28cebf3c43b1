"""A request as a server sees it, and the bytes of its replies."""

from __future__ import annotations

import contextlib
import os
import traceback
from typing import Any, Optional

import msgpack

from . import _codec

OPS = ("call", "get", "set", "cancel", "describe", "hello")
MAX_NAME = 256
_OWN = os.path.dirname(__file__)

Fault = tuple[str, str, list[str], Optional[str]]
"""Class, message, detail and hint of an error on its way to a client."""


class BadRequestError(Exception):
    """A request that cannot be read; `fault` is the answer to it."""

    def __init__(self, kind: str, message: str, original: str | None = None) -> None:
        super().__init__(message)
        self.fault: Fault = (kind, message, [], None)
        self.original = original


class Request:
    """One request, as much of it as could be read.

    Reading never fails: what is wrong with it stands in `bad`, and version, id and codec are told
    as far as they can be, for its answer.
    """

    def __init__(self, envelope: list[bytes], payload: bytes) -> None:
        self.envelope = envelope
        self.json = _codec.is_json(payload)
        self.version = 1
        self.op = "call"
        self.id: Any = None
        self.epoch: int | None = None
        self.expires: int | None = None
        self.name = self.proc = ""
        self.args: list[Any] = []
        self.kwargs: dict[str, Any] = {}
        self.bad: BadRequestError | None = None
        # The state of a call that waits for its object; `state` changes under the object's lock.
        self.state = "queued"
        try:
            self._read(_codec.from_json(payload) if self.json else _codec.unpack_request(payload))
        except BadRequestError as error:
            self.bad = error
        except _codec.OddKeyError as error:
            self.bad = BadRequestError("TypeError", str(error))
        except ValueError as error:
            self.bad = BadRequestError("ValueError", str(error))
        if self.bad is not None and not self.json:
            self._salvage(payload)

    def _salvage(self, payload: bytes) -> None:
        """Reads version and id of a request that is broken behind them, for its answer."""
        reader = msgpack.Unpacker()
        reader.feed(payload[:64])
        with contextlib.suppress(Exception):  # whatever msgpack thinks of it
            reader.read_map_header()
            if reader.unpack() == "v" and _is_uint(reader.unpack()):
                self.version = 2
                if reader.unpack() == "id":
                    self.id = _identity(reader.unpack())

    def _read(self, value: Any) -> None:
        if not isinstance(value, dict):
            kind = type(value).__name__
            raise BadRequestError("TypeError", f"a request must be a map, not {kind}")
        if "v" in value:
            self._read_version_2(value)
        old = self.version == 1
        if old or self.op not in ("hello", "cancel"):
            self.name = _name(value, "name")
        if old or self.op in ("call", "get", "set"):
            self.proc = _name(value, "proc")
        self.args = _part(value, "args", list, "a list", old)
        self.kwargs = _part(value, "kwargs", dict, "a dict", old)

    def _read_version_2(self, value: dict[str, Any]) -> None:
        self.version = 2
        self.id = _identity(value.get("id"))
        if value["v"] != 2:
            message = f"'v' is {value['v']!r:.40}; this server speaks version 2"
            raise BadRequestError("ValueError", message)
        if self.id is None:
            raise BadRequestError(
                "ValueError", "a version 2 request needs an 'id', [bytes(16), int]"
            )
        op = value.get("op", "call")
        if op not in OPS:
            message = f"'op' is {op!r:.40}; this server knows {', '.join(OPS)}"
            raise BadRequestError("ValueError", message)
        self.op = op
        for key in ("epoch", "expires"):
            if not _is_uint(value.get(key, 0)):
                raise BadRequestError("TypeError", f"the request's '{key}' must be an int")
        self.epoch, self.expires = value.get("epoch"), value.get("expires")

    @property
    def key(self) -> tuple[bytes, int]:
        """The request's name among all requests."""
        return (self.id[0], self.id[1])

    def ok(self, pack: _codec.Packer, epoch: int, value: Any) -> bytes:
        """Gives the bytes of a reply with a value; raises as `Packer.pack`."""
        if self.version == 1:
            return _codec.to_json(value) if self.json else pack.pack(value)
        return self._envelope(pack, epoch, "ok", value)

    def error(
        self,
        pack: _codec.Packer,
        epoch: int,
        fault: Fault,
        executed: str,
        reason: str | None = None,
    ) -> bytes:
        """Gives the bytes of a reply with an error."""
        kind, message, detail, hint = (_clean(part) for part in fault)
        if self.version == 1:
            lines = [*detail, *([f"hint: {hint}"] if hint else [])] or [f"{kind}: {message}"]
            value: Any = {"EXCEPTION": [kind, message, lines]}
            return _codec.to_json(value) if self.json else pack.pack(value)
        told = {
            "class": kind,
            "message": message,
            "detail": detail,
            "hint": hint,
            "executed": executed,
            "reason": reason,
        }
        return self._envelope(pack, epoch, "error", told)

    def _envelope(self, pack: _codec.Packer, epoch: int, key: str, value: Any) -> bytes:
        if self.json:
            return _codec.to_json({"v": 2, "id": self.id, "epoch": epoch, key: value})
        parts = [b"\x84\xa1v\x02\xa2id"]
        pack.put(self.id, parts)
        parts += (b"\xa5epoch", pack.flat(epoch), pack.flat(key))
        pack.put(value, parts)
        return b"".join(parts)


def fault_of(error: BaseException) -> Fault:
    """Gives an exception for the wire: class, message, and the traceback without our own frames."""
    try:
        message = str(error)
    except Exception as failure:  # an exception class may be anybody's
        message = f"<{type(error).__name__} whose text raises {type(failure).__name__}>"
    entries = traceback.extract_tb(error.__traceback__)
    while entries and os.path.dirname(entries[0].filename) == _OWN:
        del entries[0]
    lines = "".join(traceback.format_list(entries)).splitlines()
    return (type(error).__name__, message, lines, None)


def _identity(value: Any) -> list[Any] | None:
    if isinstance(value, list) and len(value) == 2:
        client, number = value
        if isinstance(client, bytes) and len(client) == 16 and _is_uint(number):
            return value
    return None


def _is_uint(value: Any) -> bool:
    return type(value) is int and value >= 0


def _name(value: dict[str, Any], key: str) -> str:
    if key not in value:
        raise BadRequestError("KeyError", f"the request has no '{key}'", key)
    name = value[key]
    if isinstance(name, bytes):
        with contextlib.suppress(UnicodeDecodeError):
            name = name.decode()
    if not isinstance(name, str):
        kind = type(name).__name__
        raise BadRequestError("TypeError", f"the request's '{key}' must be text, not {kind}")
    if len(name.encode(errors="replace")) > MAX_NAME:
        message = f"the request's '{key}' has more than the {MAX_NAME} bytes of a name"
        raise BadRequestError("ValueError", message)
    return name


def _part(value: dict[str, Any], key: str, kind: type, what: str, needed: bool) -> Any:
    part = value.get(key)
    if part is None:
        # The original indexes its keys; version 2 can do without these.
        if needed and key not in value:
            raise BadRequestError("KeyError", f"the request has no '{key}'", key)
        part = kind()
    if not isinstance(part, kind):
        given = type(part).__name__
        raise BadRequestError("TypeError", f"the request's '{key}' must be {what}, not {given}")
    return part


def _clean(part: Any) -> Any:
    """Gives text that any client can decode."""
    if isinstance(part, list):
        return [_clean(line) for line in part]
    return part.encode(errors="backslashreplace").decode() if isinstance(part, str) else part
