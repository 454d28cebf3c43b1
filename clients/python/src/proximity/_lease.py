"""An object's writes for oneself, for a time."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from ._session import Holding, Target
from .errors import CallError, LeaseLost, Locked, ProximityError

if TYPE_CHECKING:
    from ._link import Link

DEFAULT_TTL = 30.0
"""Seconds after which others may write again when this program has died."""

# Seconds that the end of a lease may take to be told. Told or not, it ends by itself.
GOODBYE_S = 1.0

AGAIN_S = 0.25
"""Seconds until a renewal that failed is tried again, as long as the lease may stand."""

_MAX_HOLDER = 128


class LeaseInfo(NamedTuple):
    """Somebody's lease, as `Agent.leases` lists it.

    object: what is locked
    holder: who has it, in his own words
    address: where he calls from; empty where that is a socket in the agent's own file system
    expires_in: seconds until it ends, unless it is renewed
    """

    object: str
    holder: str
    address: str
    expires_in: float


class Terms:
    """One lease's token and time, and the requests about it."""

    def __init__(self, name: str, ttl: float, holder: str | None) -> None:
        if not ttl > 0:
            raise ValueError(f"ttl is {ttl!r}; it must be 1 to 300 seconds")
        self.ttl = float(ttl)
        self.key = Holding.of(os.urandom(16)).key
        self.args = (round(ttl * 1000),)
        self.kwargs = {"holder": own_name() if holder is None else _cut(holder)}
        self._name = name

    def target(self, op: str) -> Target:
        """The request `op` about this lease."""
        holding = Holding()
        holding.key = self.key
        return Target(op, self._name, holding=holding)


class Lease:
    """An object that nobody else may change meanwhile; made by `Proxy.lock`.

    It ends with its ``with`` block, with `release`, or with this program, not with a forked child
    of it. A thread renews it after each third of its time. It is lost before when someone steals
    it, or when the agent is restarted or out of reach for all its time: then calls raise
    `LeaseLost`, or `Locked` where another has the object by now, and change nothing.

    taken_from: who had it before, if it was stolen; else None
    """

    def __init__(self, link: Link, holding: Holding, terms: Terms, op: str, timeout: float) -> None:
        self._link = link
        self._holding = holding
        self._terms = terms
        self._timeout = timeout
        self._ended = threading.Event()
        self._lost = False
        self._process = os.getpid()
        self._renewed = time.monotonic()
        reply = link.call(terms.target(op), terms.args, terms.kwargs, timeout)
        self.taken_from: str | None = reply.get("from")
        holding.key = terms.key
        threading.Thread(target=self._renew, name="proximity lease", daemon=True).start()

    @property
    def is_lost(self) -> bool:
        """Whether others may have the object, as far as is known. A call tells for certain."""
        return self._lost

    @property
    def ttl(self) -> float:
        """Seconds after which others may write again when this program has died."""
        return self._terms.ttl

    def release(self) -> None:
        """Lets others write again; raises `LeaseLost` where they could before."""
        self._release(self._timeout)

    def _release(self, timeout: float) -> None:
        if self._ended.is_set():
            return
        is_ours = self._process == os.getpid()
        if is_ours:  # a forked child has no thread that waits for this, and its lock may be taken
            self._ended.set()
        if self._holding.key == self._terms.key:
            self._holding.key = b""
        if is_ours:
            self._link.call(self._terms.target("release"), (), {}, timeout)

    def _renew(self) -> None:
        terms = self._terms
        every, target = terms.ttl / 3, terms.target("renew")
        pause = every
        while not self._ended.wait(pause):
            asked = time.monotonic()
            left = self._renewed + terms.ttl - asked
            try:
                self._link.call(target, terms.args, {}, max(0.001, min(every, left)))
                self._renewed, pause = asked, every
            # Whatever it is, as of a decoder of the user's: nobody would renew it any more.
            except Exception as error:
                self._lost = is_over(error, terms.ttl, self._renewed)
                if self._lost:
                    return
                pause = AGAIN_S

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Told or not, it ends, as with an object that is gone: no reason for the program to fail.
        with contextlib.suppress(ProximityError):
            self._release(min(self._timeout, GOODBYE_S))

    def __repr__(self) -> str:
        state = "released" if self._ended.is_set() else "lost" if self._lost else "held"
        return f"<Lease of '{self._terms.target('lock').name}' at {self._link.url}: {state}>"


def is_over(error: Exception, ttl: float, renewed: float) -> bool:
    """Whether a lease last renewed at `renewed` has ended, which could not be renewed."""
    # What is no CallError comes from an object that is gone, or will come again each time.
    is_final = isinstance(error, (LeaseLost, Locked)) or not isinstance(error, CallError)
    return is_final or time.monotonic() - renewed >= ttl


def listed(reply: list[dict[str, Any]]) -> list[LeaseInfo]:
    """Gives what the agent answers to `leases`."""
    return [
        LeaseInfo(item["object"], item["holder"], item["address"], item["expires_in"] / 1000)
        for item in reply
    ]


def own_name() -> str:
    """Gives as whom others see this program's user."""
    user = os.environ.get("USER") or os.environ.get("LOGNAME") or "unknown"
    return _cut(f"{user}@{os.uname().nodename}")


def _cut(name: str) -> str:
    return name.encode("utf-8", "replace")[:_MAX_HOLDER].decode("utf-8", "ignore")
