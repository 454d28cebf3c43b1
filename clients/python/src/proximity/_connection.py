"""A connection to an agent, in the hands of one call at a time: requests out, replies in."""

from __future__ import annotations

import contextlib
import math
import random
import time
from typing import Any

import zmq

from . import _codec, _dealer
from ._attempt import LostError
from ._parts import Parts, Progress, is_part, is_whole, note_size
from ._session import Session, Target, is_answer, unreadable
from .errors import NotSent

# How long a wait goes on before it is looked whether the connection still stands: the quickest
# calls are not to pay for that.
_SLICE_S = 0.01
# A connection unused for longer may have broken and come back meanwhile.
_QUIET_S = 0.001
# Milliseconds that a cancelled call's word to the agent may take after the connection is closed.
_CANCEL_LINGER_MS = 200

# Bytes from which on it is worth not to copy a message.
_LARGE = 1 << 16
# As plain numbers: the flags of pyzmq are slow to combine and to pass on.
_NOW = int(zmq.DONTWAIT)
_MORE = _NOW | int(zmq.SNDMORE)


class Connection:
    """One socket to an agent, in the hands of one call at a time."""

    def __init__(self, context: zmq.Context[Any], url: str) -> None:
        self.packer = _codec.Packer()
        self.used = 0.0
        self._context = context
        self._url = url
        self._sent = 0
        self._lost = -math.inf
        self._open()

    def _open(self, *, hurried: bool = False) -> None:
        self.socket, self._monitor = _dealer.opened(self._context, self._url, hurried=hurried)
        self.socket.setsockopt(zmq.RCVTIMEO, int(_SLICE_S * 1000))
        self._down = self._taken = self._stood = False
        self._is_hurried = hurried
        self._begun = time.monotonic()
        self._given_up = math.inf

    def came_back(self, now: float) -> bool:
        """Whether the connection broke since it was last used: the agent may be another by now."""
        return now - self.used > _QUIET_S and self.broke()

    def exchange(
        self,
        session: Session,
        target: Target,
        number: int,
        data: bytes,
        began: float,
        end: float,
        progress: Progress | None = None,
    ) -> Any:
        """Sends a request and gives its reply; raises a `CallError` at time `end` at the latest.

        Raises LostError where the connection breaks in between.
        """
        self.send(session, target, data, began, end)
        self._sent = number
        parts: Parts | None = None
        while True:
            reply = self.receive(session, target, began, end)
            if is_answer(reply, session, target, number):
                if is_whole(reply, parts):
                    self._sent = 0
                    self.used = time.monotonic()
                    return reply
            elif is_part(reply, session.client, number):
                parts = parts or Parts(session, target, progress)
                more = parts.take(reply)
                if more:
                    self.tell(session.credit(self.packer, number, more))
            # Whoever keeps sending is not waited for any longer than others.
            if time.monotonic() >= end:
                raise session.not_answered(target, end - began)

    def tell(self, data: bytes) -> None:
        """Sends a message that gets no reply of its own, if the connection still stands."""
        with contextlib.suppress(zmq.Again):
            self.socket.send(data, _NOW)

    def is_busy(self) -> bool:
        """Whether something was sent of which the end is not known."""
        return self._sent != 0

    def note_sent(self, number: int) -> None:
        """Notes the last request that was sent, or 0 where all are answered."""
        self._sent = number

    def send(self, session: Session, target: Target, data: bytes, began: float, end: float) -> None:
        """Sends one request, as soon as there is a connection to send it on."""
        while True:
            # For a moment after a connection broke, what is sent is still taken, and lost.
            if not self._down:
                try:
                    if session.is_delimited:
                        self.socket.send(b"", _MORE)
                    self.socket.send(data, _NOW, len(data) < _LARGE)
                    return
                except zmq.Again:
                    pass
            left = end - time.monotonic()
            if left <= 0:
                raise session.not_sent(target, end - began)
            left = min(left, self._hurry())
            poller = zmq.Poller()
            poller.register(self._monitor, zmq.POLLIN)
            if not self._down:
                poller.register(self.socket, zmq.POLLOUT)
            poller.poll(_ms(left))
            self.broke()

    def _hurry(self) -> float:
        """Begins to connect anew where it is time to; gives the time until it will be."""
        now = time.monotonic()
        if self._taken:
            return math.inf
        soon = now - self._lost <= _dealer.HURRY_S
        due = (self._begun + _dealer.HURRY_PAUSE_S if soon else self._given_up) - now
        if due > 0:
            return due
        # By another socket: what is sent over this one could still go to the connection that goes.
        old = self.socket, self._monitor
        try:
            self._open(hurried=soon)
        except NotSent:  # there is no room for another: libzmq goes on with this one
            self._begun, self._given_up = now, math.inf
        else:
            _dealer.shut(*old)
        return _dealer.HURRY_PAUSE_S

    def receive(self, session: Session, target: Target, began: float, end: float) -> Any:
        """Gives the next message, whatever it is."""
        if end - began < _SLICE_S:
            self._wait(session, target, began, end)
        data: Any = b""
        while not data:  # as the delimiter is
            try:
                data = self.socket.recv(0, not target.large)
            except zmq.Again:
                self._wait(session, target, began, end)
        if target.large:
            data = data.buffer
        target.large = len(data) >= _LARGE
        if target.large:
            note_size(target, len(data))
        try:
            return _codec.unpack(data)
        except ValueError as error:
            raise unreadable(session.url, target, f"ValueError: {error}") from error

    def _wait(self, session: Session, target: Target, began: float, end: float) -> None:
        """Waits for a message, the end of the time or of the connection."""
        poller = zmq.Poller()
        poller.register(self.socket, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        while True:
            left = end - time.monotonic()
            ready = dict(poller.poll(_ms(left))) if left > 0 else {}
            # What was answered before the connection broke counts.
            if self.socket in ready or self.socket.poll(0):
                return
            if not ready:
                raise session.not_answered(target, end - began)
            if self.broke():
                session.fresh_until = -math.inf
                self._sent = 0
                raise LostError

    def broke(self) -> bool:
        """Whether the connection broke since this was last asked."""
        broke = False
        with contextlib.suppress(zmq.Again):
            while True:
                event = _dealer.event_of(self._monitor.recv_multipart(_NOW))
                self._taken = event != _dealer.DOWN
                self._given_up = math.inf
                if event == _dealer.DOWN:
                    now = time.monotonic()
                    self._given_up = now + random.uniform(*_dealer.GIVEN_UP_S)
                    if self._stood:
                        self._lost = self._begun = now
                    elif self._is_hurried:
                        # Taken and closed at once, as by a tunnel without an agent behind it:
                        # libzmq's pauses begin anew each time, with the shortest.
                        self._given_up = now
                    self._stood, self._down, broke = False, True, True
                elif event == _dealer.UP:
                    self._stood, self._down = True, False
        return broke

    def abandon(self, session: Session) -> None:
        """Closes the connection, telling the agent not to begin with what nobody waits for."""
        if self._sent:
            with contextlib.suppress(zmq.ZMQError):
                self.tell(session.cancel(self.packer, self._sent, time.monotonic() + 1))
                self.socket.setsockopt(zmq.LINGER, _CANCEL_LINGER_MS)
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        _dealer.shut(self.socket, self._monitor)


def _ms(seconds: float) -> int:
    # Rounded up: a wait that ends early would only begin again.
    return max(1, int(seconds * 1000 + 0.999))
