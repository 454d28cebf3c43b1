"""When a request is sent again, and when never: no sockets, no waiting.

It is sent again under the same number, within its caller's time, in three cases only. The agent has
proved that nothing ran, and a new hello puts right what it complained of. Or the connection broke,
and the request only reads. Or the connection broke, and the agent is in the same run as before: it
keeps its replies, and gives the first answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from . import _codec
from ._session import Run, Session, Target
from .errors import CallError, NotExecuted, OutcomeUnknown, ProximityError, call_error
from .interface import Interface

# With less time left it is not worth to ask for the agent's clock and to try once more.
_WORTH_IT_S = 0.05
# An agent restarted more often within one call is not believed: it contradicts itself.
_MOST_STALE = 5

_LEASE_OPS = frozenset(("lock", "renew", "release", "steal"))
# A lease is its token's, however often that is told.
_REPEATABLE = _LEASE_OPS | {"get", "describe", "hello", "leases"}
# Reasons that hold for all copies of a request. With others an earlier one may have run, before the
# agent was restarted or too long ago.
_OF_ALL_COPIES = frozenset(
    (
        "Busy",
        "Cancelled",
        "Draining",
        "Failed",
        "LeaseLost",
        "Locked",
        "Removed",
        "RepliesUnread",
        "TooManyInFlight",
    )
)


class LostError(Exception):
    """The connection broke before the answer to a request came."""


class Attempt:
    """One request of a caller, until it has an outcome."""

    __slots__ = (
        "_clock_is_new",
        "_end",
        "_hash",
        "_run",
        "_session",
        "_stale",
        "_target",
        "_was",
        "number",
    )

    def __init__(self, session: Session, target: Target, end: float) -> None:
        self.number = session.number()
        self._session = session
        self._target = target
        self._end = end
        # The run that the last copy was for, and that of the last one that was lost.
        self._run: Run | None = None
        self._was: int | None = None
        self._hash: int | None = None
        self._stale = 0
        self._clock_is_new = False

    def request(
        self,
        pack: _codec.Packer,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        progress: bool = False,
    ) -> bytes:
        """Gives the bytes of a copy, for the agent's present run; raises as `Session.request`."""
        session = self._session
        run = self._run = session.run
        return session.request(
            pack, self._target, args, kwargs, self._end, self.number, progress, run
        )

    def lose(self) -> None:
        """Notes that the connection broke over which a copy was sent."""
        if self._run is not None:
            self._was = self._run.epoch
            self._hash = self._run.objects.get(self._target.name)

    @property
    def is_lost(self) -> bool:
        """Whether a copy was sent that can get no answer."""
        return self._was is not None

    def may_repeat(self) -> bool | None:
        """Whether a lost request may be sent again; None where its method's effect decides."""
        session, target = self._session, self._target
        if target.op in _REPEATABLE:
            return True
        if target.op in ("call", "set") and session.kept and session.epoch == self._was:
            return True
        known = self._hash is not None and session.objects.get(target.name) == self._hash
        return None if target.op == "call" and known else False

    def reads(self, interface: Interface) -> bool:
        """Whether the method only reads, and did when it was called first."""
        method = interface.methods.get(self._target.proc)
        return interface.hash == self._hash and method is not None and method.effect == "read"

    def not_repeated(self) -> CallError:
        """The error for a lost request that may not be sent again."""
        session = self._session
        if session.epoch == self._was:
            return session.lost(self._target)
        return session.restarted(self._target)

    def failed(self, error: CallError, waited: float) -> CallError:
        """Gives what an error before or while sending a copy says of the whole request."""
        if self._was is None or not isinstance(error, NotExecuted):
            return error
        return self._session.not_back(self._target, waited)

    def refused(self, reply: dict[str, Any]) -> ProximityError | None:
        """Gives the error that a reply tells; None where the request is to be sent again."""
        session = self._session
        failure = session.failure(reply, self._target)
        if not isinstance(failure, NotExecuted):
            return failure
        reason = failure.reason
        if reason == "StaleEpoch" and self._stale < _MOST_STALE:
            self._stale += 1
            session.fresh_until = -math.inf
            return None
        of_all = reply.get("epoch") == self._was and reason in _OF_ALL_COPIES
        if self._was is not None and self._target.op not in _LEASE_OPS and not of_all:
            return _unknown(failure)
        left = self._end - time.monotonic()
        of_the_clock = reason in ("Expired", "ExpiresTooFar")
        if of_the_clock and not self._clock_is_new and left > _WORTH_IT_S:
            # The agent's clock is not what we take it for: one of the machines has slept.
            self._clock_is_new = True
            session.fresh_until = -math.inf
            return None
        return failure


def _unknown(refusal: CallError) -> CallError:
    return call_error(
        OutcomeUnknown,
        refusal.message,
        detail=refusal.detail,
        hint=refusal.hint,
        reason=refusal.reason,
        timed_out=isinstance(refusal, TimeoutError),
    )
