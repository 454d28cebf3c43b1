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

RECONNECT_FIRST_MS, RECONNECT_MOST_MS = 10, 1000
"""How soon libzmq tries again to connect: at first, and after many failures."""

# What a refusal says that a new hello puts right: the agent restarted, or this machine slept, and
# the call has not run.
STALE = ("StaleEpoch", "Expired")

# The pieces of a request; docs/wire.md has the whole.
_V_ID, _OP, _EPOCH, _EXPIRES = (
    b"\xa1v\x02\xa2id\x92\xc4\x10",
    b"\xa2op",
    b"\xa5epoch",
    b"\xa7expires",
)
_NAME, _PROC, _ARGS, _KWARGS = b"\xa4name", b"\xa4proc", b"\xa4args", b"\xa6kwargs"
_NO_KWARGS = _KWARGS + b"\x80"
_MAP_7, _MAP_9 = b"\x87", b"\x89"


class Target:
    """What a request is for: an operation on a method or attribute of an object."""

    def __init__(self, op: str, name: str = "", proc: str = "") -> None:
        pack = _codec.Packer().pack
        self.op = op
        self.name = name
        self.proc = proc
        # An epoch and a deadline are for what touches an object.
        self.timed = op not in ("hello", "describe")
        self.op_key = _OP + pack(op)
        # Whether a reply is looked at before it is copied: large ones are not copied once more.
        self.large = False
        self.names = b"".join((_NAME, pack(name), _PROC, pack(proc), _ARGS))

    def __str__(self) -> str:
        if self.op in ("hello", "describe"):
            return f"{self.op}({self.name})"
        return f"{self.name}.{self.proc}"


HELLO = Target("hello")


class Session:
    """One client's standing with one agent, whatever connections it has to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.objects: dict[str, int] = {}
        self.agent: dict[str, Any] = {}
        self.epoch = 0
        self.max_frame = _codec.MAX_FRAME
        self.window = 16
        self.fresh_until = -math.inf
        self._epoch_key = b""
        self._offset = 0.0
        self.begin()

    def begin(self) -> None:
        """Starts anew under another client id, as a forked child must."""
        self.fresh_until = -math.inf
        self._client = os.urandom(16)
        self._v_id = _V_ID + self._client
        self._count = itertools.count(1)

    def request(
        self,
        pack: _codec.Packer,
        target: Target,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        deadline: float,
    ) -> tuple[int, bytes]:
        """Gives a request's number and bytes.

        Raises TypeError or ValueError for arguments that the wire has no form for, and NotSent for
        a request that is larger than the agent takes.
        """
        number = next(self._count)
        parts = [_MAP_9, self._v_id, pack.flat(number), target.op_key]
        if target.timed:
            expires = int((deadline + self._offset) * 1000)
            parts += (self._epoch_key, _EXPIRES, pack.flat(expires if expires > 0 else 0))
        else:
            parts[0] = _MAP_7
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
        return number, data

    def hello(self, pack: _codec.Packer) -> tuple[int, bytes]:
        """Gives the number and bytes of the request that opens every session."""
        return self.request(pack, HELLO, (), {}, 0.0)

    def cancel(self, pack: _codec.Packer, number: int, deadline: float) -> bytes:
        """Gives the request that takes back call `number`."""
        return self.request(pack, Target("cancel"), ((self._client, number),), {}, deadline)[1]

    def greet(self, reply: Any, arrived: float) -> None:
        """Takes in the reply to hello, which arrived at `arrived` on our clock."""
        if not isinstance(reply, dict) or reply.get("v") != 2:
            raise call_error(
                NotExecuted,
                f"{self.url} does not speak version 2 of the wire",
                hint="it may be an original PyProximity server, which only the old clients reach",
                reason="Version",
            )
        if "ok" not in reply:
            raise self.failure(reply, HELLO)
        hello = reply["ok"]
        self.agent = hello
        self.objects = dict(hello["objects"])
        self.epoch = hello["epoch"]
        limits = hello.get("limits", {})
        self.max_frame = limits.get("max_frame", _codec.MAX_FRAME)
        self.window = max(1, min(16, limits.get("max_inflight", 16)))
        self._epoch_key = _EPOCH + _codec.Packer().pack(self.epoch)
        # The agent's clock read this at least as long ago as the reply took, so that no call can
        # start there after we gave it up here.
        self._offset = hello["now"] / 1000 - arrived
        self.fresh_until = arrived + FRESH

    def failure(self, reply: dict[str, Any], target: Target) -> ProximityError:
        """Gives the error that a reply tells."""
        error = reply["error"]
        message, detail, hint = error["message"], error.get("detail") or (), error.get("hint")
        reason, executed = error.get("reason"), error.get("executed", "unknown")
        if not reason:
            return RemoteError.of(error["class"], message, detail, hint, executed)
        return call_error(
            NotExecuted if executed == "no" else OutcomeUnknown,
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
            hint="the agent may have restarted; it never repeats a call of its own accord",
        )


def may_retry(error: ProximityError, deadline: float) -> bool:
    """Whether a new hello puts right what `error` complains of, with time left for it."""
    return (
        isinstance(error, NotExecuted)
        and error.reason in STALE
        and deadline - time.monotonic() > (0.05 if error.reason == "Expired" else 0)
    )


def is_answer(reply: Any, number: int) -> bool:
    """Whether a message is the final reply to request `number`, and not a late or a partial one."""
    if not isinstance(reply, dict) or reply.get("v") != 2:
        return True  # no envelope: an agent of version 1
    identity = reply.get("id")
    # An agent that cannot read a request cannot tell its id either.
    return (identity is None or identity[1] == number) and ("ok" in reply or "error" in reply)


def positive(timeout: float | None, otherwise: float) -> float:
    """Gives a time-out in seconds that is one."""
    if timeout is None:
        return otherwise
    if not timeout > 0:
        raise ValueError(f"timeout is {timeout!r}; it must be more than 0 seconds")
    return min(float(timeout), 1e9)


def seconds(value: float | int) -> str:
    """Gives a time for a person to read."""
    return f"{value:.3g} s"
