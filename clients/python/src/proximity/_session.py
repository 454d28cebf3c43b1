"""What a client knows of its agent, and the messages between them: no sockets, no waiting.

The synchronous and the asynchronous client share it: one asks it for the bytes to send, and hands
it the bytes that came.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from . import _codec
from .errors import (
    CallError,
    LeaseLost,
    Locked,
    NotExecuted,
    NotSent,
    OutcomeUnknown,
    ProximityError,
    RemoteError,
    call_error,
)

DEFAULT_TIMEOUT = 10.0
"""Seconds that a call may take, unless told otherwise: a board is known dead in half of it."""

FRESH = 60.0
"""Seconds for which an agent's clock is believed: the drift in that time is a few milliseconds."""

LONGEST = 23 * 3600.0
"""Seconds after which a call expires at the latest: agents refuse more than 24 hours ahead of their
clock, which is behind by what their machine slept since hello."""

MAX_REPLY = 256 << 20
"""Bytes that a result may have, unless told otherwise."""

FIRST_CREDIT = 16
"""Chunks of a large result that may be on their way; with the agent's usual 256 KiB, 4 MiB."""

# The pieces of a request; docs/wire.md has the whole.
_V_ID, _OP, _EPOCH, _EXPIRES = (
    b"\xa1v\x02\xa2id\x92\xc4\x10",
    b"\xa2op",
    b"\xa5epoch",
    b"\xa7expires",
)
_NAME, _PROC, _ARGS, _KWARGS = b"\xa4name", b"\xa4proc", b"\xa4args", b"\xa6kwargs"
_NO_KWARGS = _KWARGS + b"\x80"
_LEASE, _PROGRESS = b"\xa5lease\xc4\x10", b"\xa8progress\xc3"
_CREDIT = b"\xa6credit" + bytes((FIRST_CREDIT,))
# Heads of maps, by the number of their keys.
_MAPS = [bytes((0x80 | keys,)) for keys in range(16)]


class Holding:
    """The lease that calls are made under: the piece of a request that tells it, or nothing."""

    __slots__ = ("key",)

    def __init__(self) -> None:
        self.key = b""

    @classmethod
    def of(cls, token: bytes) -> Holding:
        """The lease with this token of 16 bytes."""
        holding = cls()
        holding.key = _LEASE + token
        return holding


_NO_LEASE = Holding()


class Target:
    """What a request is for: an operation on a method or attribute of an object."""

    def __init__(
        self, op: str, name: str = "", proc: str = "", holding: Holding = _NO_LEASE
    ) -> None:
        pack = _codec.Packer().pack
        self.op = op
        self.name = name
        self.proc = proc
        self.holding = holding
        # An epoch and a deadline are for what touches an object.
        self.timed = op not in ("hello", "describe", "status")
        # Whether a large result may come in chunks.
        self.bulk = op in ("call", "get")
        self.op_key = _OP + pack(op)
        # Whether a reply is looked at before it is copied: large ones are not copied once more.
        self.large = False
        self.names = b"".join((_NAME, pack(name), _PROC, pack(proc), _ARGS))

    def __str__(self) -> str:
        if not self.proc:
            return f"{self.op}({self.name})"
        return f"{self.name}.{self.proc}"


class Run:
    """What an agent said of itself in one reply to hello; never changed."""

    __slots__ = ("epoch", "key", "latest", "objects", "offset")

    def __init__(
        self,
        epoch: int = 0,
        objects: dict[str, int] | None = None,
        now: int = 0,
        arrived: float = math.inf,
    ) -> None:
        self.epoch = epoch
        self.objects = objects or {}
        self.key = _EPOCH + _codec.Packer().pack(epoch)
        # The agent's clock read this at least as long ago as the reply took, so that no call can
        # start there after we gave it up here.
        self.offset = now / 1000 - arrived if arrived < math.inf else 0.0
        self.latest = arrived + LONGEST


HELLO = Target("hello")
LOOK = "look at the device before you repeat it: read back what it should have changed"
"""What to do about a write of which nobody knows whether it ran."""


class Session:
    """One client's standing with one agent, whatever connections it has to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.agent: dict[str, Any] = {}
        self.max_frame = _codec.MAX_FRAME
        self.window = 16
        self.max_reply = MAX_REPLY
        # Whether the agent answers a call that comes twice with its first answer, and whether it
        # sends large results in chunks.
        self.kept = False
        self.chunks = False
        self.fresh_until = -math.inf
        self.run = Run()
        self.begin()

    def begin(self) -> None:
        """Starts anew under another client id, as a forked child must."""
        self.fresh_until = -math.inf
        self.client = os.urandom(16)
        self._v_id = _V_ID + self.client
        self._count = itertools.count(1)

    @property
    def epoch(self) -> int:
        """The number of the agent's present run; 0 before the first hello."""
        return self.run.epoch

    @property
    def is_delimited(self) -> bool:
        """Whether requests have an empty frame before them, as those of a REQ socket.

        Original servers take nothing else; their replies have it too. Once it is known to be an
        agent that answers, there is one frame, for libzmq ends the program (fq.cpp: assertion
        !_more) where the connection is lost just when the first frame of a reply is read and the
        second is not.
        """
        return not self.run.epoch

    @property
    def objects(self) -> dict[str, int]:
        """The agent's objects, each with the hash of its interface."""
        return self.run.objects

    def number(self) -> int:
        """Gives the number of a request that is still to be made."""
        return next(self._count)

    def request(
        self,
        pack: _codec.Packer,
        target: Target,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        deadline: float,
        number: int,
        progress: bool = False,
        run: Run | None = None,
    ) -> bytes:
        """Gives the bytes of request `number`, for that run of the agent or the present one.

        Raises TypeError or ValueError for arguments that the wire has no form for, and NotSent for
        a request that is larger than the agent takes.
        """
        keys = 7
        parts = [b"", self._v_id, pack.flat(number), target.op_key]
        if target.timed:
            run = run or self.run
            expires = int((min(deadline, run.latest) + run.offset) * 1000)
            parts += (run.key, _EXPIRES, pack.flat(expires if expires > 0 else 0))
            keys = 9
        if target.holding.key:
            parts.append(target.holding.key)
            keys += 1
        if progress:
            parts.append(_PROGRESS)
            keys += 1
        if self.chunks and (target.bulk or progress):
            parts.append(_CREDIT)
            keys += 1
        parts[0] = _MAPS[keys]
        parts.append(target.names)
        pack.put(args, parts)
        if kwargs:
            parts.append(_KWARGS)
            pack.put(kwargs, parts)
        else:
            parts.append(_NO_KWARGS)
        data = b"".join(parts)
        if len(data) > self.max_frame:
            raise call_error(
                NotSent,
                f"{target}: the request has {len(data)} bytes; {self.url} takes {self.max_frame}",
                hint="send it in pieces, or raise max_frame in the agent's configuration",
                reason="TooLarge",
            )
        return data

    def hello(self, pack: _codec.Packer) -> tuple[int, bytes]:
        """Gives the number and bytes of the request that opens every session."""
        number = self.number()
        return number, self.request(pack, HELLO, (), {}, 0.0, number)

    def cancel(self, pack: _codec.Packer, number: int, deadline: float) -> bytes:
        """Gives the request that takes back call `number`."""
        args = ((self.client, number),)
        return self.request(pack, Target("cancel"), args, {}, deadline, self.number())

    def credit(self, pack: _codec.Packer, number: int, more: int) -> bytes:
        """Gives the message that lets `more` chunks come for call `number`."""
        return self.request(pack, Target("credit"), (more,), {}, 0.0, number)

    def greet(self, reply: Any, arrived: float) -> None:
        """Takes in the reply to hello, which arrived at `arrived` on our clock.

        Raises OutcomeUnknown where it lacks something.
        """
        if not isinstance(reply, dict) or reply.get("v") != 2:
            raise call_error(
                NotExecuted,
                f"{self.url} does not speak version 2 of the wire",
                hint="it may be an original PyProximity server, which only the old clients reach",
                reason="Version",
            )
        if "ok" not in reply:
            raise self.failure(reply, HELLO)
        try:
            self._take(reply["ok"], arrived)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise unreadable(self.url, HELLO, f"{type(error).__name__}: {error}") from None

    def _take(self, hello: dict[str, Any], arrived: float) -> None:
        limits = hello.get("limits", {})
        self.max_frame = limits.get("max_frame", _codec.MAX_FRAME)
        self.window = max(1, min(16, limits.get("max_inflight", 16)))
        features = hello.get("features", ())
        self.kept = "kept" in features
        self.chunks = "chunks" in features and limits.get("chunk", 0) > 0
        # In one assignment: another thread must not meet the new epoch with the old clock.
        self.run = Run(hello["epoch"], dict(hello["objects"]), hello["now"], arrived)
        self.agent = hello
        self.fresh_until = arrived + FRESH

    def failure(self, reply: dict[str, Any], target: Target) -> ProximityError:
        """Gives the error that a reply tells."""
        error = reply.get("error")
        if not isinstance(error, dict) or not all(
            isinstance(error.get(key) or "", str) for key in ("class", "message", "hint", "reason")
        ):
            return unreadable(self.url, target, "its error is none")
        message, hint = error.get("message") or "", error.get("hint")
        lines = error.get("detail")
        detail = [str(line) for line in lines] if isinstance(lines, list) else []
        reason, executed = error.get("reason"), error.get("executed", "unknown")
        if not (reason or (error.get("class") and "message" in error)):
            return unreadable(self.url, target, "its error has no class and no reason")
        if not reason:
            return RemoteError.of(error["class"], message, detail, hint, executed)
        kind: type[CallError] = NotExecuted if executed == "no" else OutcomeUnknown
        if kind is NotExecuted and reason == "LeaseLost":
            kind = LeaseLost
        if kind is NotExecuted and reason == "Locked":
            held = Locked(message, detail=detail, hint=hint)
            held.holder = str(error.get("holder", ""))
            left = error.get("expires_in")
            held.expires_in = left / 1000 if isinstance(left, (int, float)) else 0.0
            return held
        return call_error(
            kind,
            message,
            detail=detail,
            hint=hint,
            reason=reason,
            timed_out=reason == "Expired",
        )

    def not_sent(self, target: Target, waited: float) -> CallError:
        """The error for a request that found no connection."""
        return call_error(
            NotSent,
            f"{target} was not sent: no agent at {self.url} for {seconds(waited)}",
            hint="is the agent running, and does it listen on this address?",
            timed_out=True,
        )

    def not_asked(self, name: str, waited: float) -> CallError:
        """The error where another thread was still asking for an object's interface."""
        return call_error(
            NotSent,
            f"describe({name}) was not sent: another thread got no answer to it from {self.url}"
            f" for {seconds(waited)}",
            hint="is the agent running, and does it listen on this address?",
            timed_out=True,
        )

    def not_answered(self, target: Target, waited: float) -> CallError:
        """The error for a request that was sent, and its time ran out."""
        return call_error(
            OutcomeUnknown,
            f"{target} was sent to {self.url} and not answered for {seconds(waited)}",
            hint="timeout= gives one call more time",
            timed_out=True,
        )

    def lost(self, target: Target) -> CallError:
        """The error for a request that was sent, and the connection broke."""
        return call_error(
            OutcomeUnknown,
            f"{target} was sent, and the connection to {self.url} broke before the answer",
            hint=LOOK,
        )

    def restarted(self, target: Target) -> CallError:
        """The error for a request that was sent to a run of the agent that is over."""
        return call_error(
            OutcomeUnknown,
            f"{target} was sent, and the agent at {self.url} was restarted before its answer",
            hint=LOOK,
        )

    def not_back(self, target: Target, waited: float) -> CallError:
        """The error for a request that was sent, and its connection did not come back."""
        return call_error(
            OutcomeUnknown,
            f"{target} was sent, the connection to {self.url} broke, and there was no other"
            f" within {seconds(waited)}",
            hint=LOOK,
            timed_out=True,
        )

    def not_greeted(self, target: Target, waited: float) -> CallError:
        """The error for a request before which hello was not answered."""
        return call_error(
            NotSent,
            f"{target} was not sent: {self.url} takes connections and said nothing for"
            f" {seconds(waited)}",
            hint="is it an agent that listens on this address?",
            timed_out=True,
        )


def is_answer(reply: Any, session: Session, target: Target, number: int) -> bool:
    """Whether a message is the final reply to request `number`, and not a late or a partial one.

    Raises a CallError where it is no message of version 2, which only hello's reply may be.
    """
    if type(reply) is not dict or reply.get("v") != 2:
        if target is HELLO:
            return True  # an agent of version 1: `Session.greet` says so
        raise unreadable(session.url, target, "it is no message of version 2")
    identity = reply.get("id")
    if identity is None:
        # An agent that cannot read a request cannot tell its id either.
        return "error" in reply and "ok" not in reply
    return identity == [session.client, number] and ("ok" in reply or "error" in reply)


def unreadable(url: str, target: Target, why: str) -> CallError:
    """The error for a request that was answered with what is no answer."""
    return call_error(OutcomeUnknown, f"{target}: the reply of {url} cannot be read", detail=[why])


def no_agent(url: str, target: Target, error: CallError) -> CallError:
    """The error for a request before which hello was answered with what is no answer."""
    return call_error(
        NotSent,
        f"{target} was not sent: {url} answered hello with what cannot be read",
        detail=error.detail,
        hint="is it an agent that listens on this address?",
    )


def time_left(end: float) -> float:
    """Gives the seconds until time `end` as a time-out: never none at all."""
    return max(0.001, end - time.monotonic())


def positive(timeout: float | None, otherwise: float) -> float:
    """Gives a time-out in seconds that is one."""
    if timeout is None:
        return otherwise
    try:
        is_positive = timeout > 0
    except TypeError:
        raise TypeError(f"timeout is {timeout!r}; it must be a number of seconds") from None
    if not is_positive:
        raise ValueError(f"timeout is {timeout!r}; it must be more than 0 seconds")
    return min(float(timeout), 1e9)


def object_name(name: str) -> str:
    """Gives an object's name that is text."""
    if not isinstance(name, str):
        raise TypeError(f"an object's name is text, not {type(name).__name__}")
    return name


def seconds(value: float | int) -> str:
    """Gives a time for a person to read."""
    return f"{value:.3g} s"
