"""One connection to an agent that any number of calls of an event loop share."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from typing import Any

import zmq
import zmq.asyncio

from . import _codec, _dealer
from ._attempt import LostError
from ._parts import Parts, Progress, is_part, is_whole, note_size, number_of
from ._session import HELLO, Session, Target, is_answer, unreadable
from .errors import CallError, NotSent, call_error

# Callers who wait for less cannot tell a dead connection from a long way.
_SILENCE_S = 0.25
# Messages that are taken in before others have their turn: large chunks are a millisecond of work.
_AT_ONCE = 16
# Turns that what came before a connection broke has to be read: more than libzmq keeps in a queue.
_TURNS = 200


class _Call:
    """A request on its way."""

    def __init__(self, session: Session, target: Target, progress: Progress | None) -> None:
        self.target = target
        self.sending: asyncio.Future[Any] | None = None
        self.parts = Parts(session, target, progress)
        self.reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @property
    def sent(self) -> bool:
        """Whether a socket has taken the request, if only in this turn of the loop."""
        sending = self.sending
        if sending is None or not sending.done() or sending.cancelled():
            return False
        return sending.exception() is None

    def fail(self, error: Exception) -> None:
        """Ends the wait for the reply."""
        if not self.reply.done():
            self.reply.set_exception(error)
            # Else asyncio complains where the caller was cancelled at the same time.
            self.reply.exception()


class Channel:
    """One socket to an agent that any number of calls of one event loop share."""

    def __init__(self, context: zmq.Context[Any], session: Session) -> None:
        self.loop = asyncio.get_running_loop()
        self.packer = _codec.Packer()
        self.waiting: dict[int, _Call] = {}
        self.closed = False
        self._session = session
        self._context: Any = zmq.asyncio.Context.shadow(context.underlying)
        # For a moment after a connection broke, what is sent is still taken, and lost.
        self._up = asyncio.Event()
        self._up.set()
        self._hurry_until = 0.0
        self._given_up = math.inf
        self._open()
        self._begin_to_watch()

    def _open(self, *, hurried: bool = False) -> None:
        url = self._session.url
        self._socket, self._monitor = _dealer.opened(self._context, url, hurried=hurried)
        self._given_up = math.inf
        self._is_hurried = hurried
        # When the first hello was sent since anything came.
        self._asked = math.inf
        self._reading = self.loop.create_task(self._read())

    async def exchange(
        self,
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
        if not self._up.is_set():
            # Not by wait_for: before Python 3.12 it may swallow the caller's cancelling.
            up = asyncio.ensure_future(self._up.wait())
            try:
                await asyncio.wait({up}, timeout=max(0.0, end - time.monotonic()))
            finally:
                up.cancel()
            if not self._up.is_set():
                raise self._session.not_sent(target, end - began)
        if self.closed:
            raise self.gone(target)
        call = self.waiting[number] = _Call(self._session, target, progress)
        try:
            socket = await self._send(call, data, end)
            if not call.sent:
                if self.closed:
                    raise self.gone(target)
                raise self._session.not_sent(target, end - began)
            if socket is not self._socket:
                raise LostError
            if target is HELLO:
                self._asked = min(self._asked, time.monotonic())
            await asyncio.wait({call.reply}, timeout=max(0.0, end - time.monotonic()))
            if not call.reply.done():
                self._doubt()
                raise self._session.not_answered(target, end - began)
            return call.reply.result()
        except asyncio.CancelledError:
            if call.sent:
                self._doubt()
                self._take_back(number)
            raise
        finally:
            del self.waiting[number]

    async def _send(self, call: _Call, data: bytes, end: float) -> Any:
        """Sends a request as soon as a socket takes it; gives the last that was asked to."""
        while True:
            socket = self._socket
            sending = asyncio.ensure_future(socket.send_multipart(self._frames(data)))
            call.sending = sending
            try:
                await asyncio.wait({sending}, timeout=max(0.0, end - time.monotonic()))
            finally:
                sending.cancel()  # which changes nothing where it is done
            if not sending.cancelled():
                # Where the connection went between the parts of the message, nothing of it is sent.
                with contextlib.suppress(zmq.Again):
                    sending.result()
                    return socket
            # Another socket may be in its place, and this one did not take it.
            elif socket is self._socket or time.monotonic() >= end:
                return socket
            if self.closed:
                return socket

    def _frames(self, data: bytes) -> list[bytes]:
        return [b"", data] if self._session.is_delimited else [data]

    def gone(self, target: Target) -> CallError:
        """The error for a request whose connection was closed before it was sent."""
        return call_error(
            NotSent, f"{target} was not sent: the connection to {self._session.url} was closed"
        )

    def _doubt(self) -> None:
        """Has hello said next: that is always answered where anybody is there."""
        self._session.fresh_until = -math.inf

    def give_up_if_dead(self) -> None:
        """Begins the connection anew if nothing came for a hello: nobody need have closed it."""
        if not self._up.is_set() or time.monotonic() - self._asked < _SILENCE_S:
            return
        watching = self._watching
        self._lose()
        self._begin_anew()
        self._begin_to_watch()
        watching.cancel()

    def _lose(self) -> None:
        """Tells the calls under way that they can get no answer."""
        self._doubt()
        for call in self.waiting.values():
            if call.sent:
                call.fail(LostError())

    def _take_back(self, number: int) -> None:
        """Tells the agent not to begin with what nobody waits for."""
        self._tell(self._session.cancel(self.packer, number, time.monotonic() + 1))

    def _tell(self, data: bytes) -> None:
        if self.closed:
            return
        telling = self._socket.send_multipart(self._frames(data), zmq.DONTWAIT)
        telling.add_done_callback(lambda told: told.cancelled() or told.exception())

    async def _read(self) -> None:
        at_once = 0
        while True:
            receiving = self._socket.recv_multipart(copy=False)
            # What has come already is waited for without a turn for anybody else, or for deadlines.
            at_once = at_once + 1 if receiving.done() else 0
            if at_once >= _AT_ONCE:
                at_once = 0
                await asyncio.sleep(0)
            try:
                frames = await receiving
            except zmq.Again:  # the connection went between the frames of one message
                continue
            self._asked = math.inf
            self._take(frames[-1])

    def _take(self, frame: Any) -> None:
        """Takes a message in; whatever it is, others can be read after it."""
        try:
            reply = _codec.unpack(frame.buffer)
            told = number_of(reply, self._session.client)
        except Exception as error:  # of MessagePack, or of a decoder of the user's
            self._unread(frame.buffer, error)
            return
        number, call = self._call_of(told)
        if call is None:
            return
        try:
            self._arrived(reply, number, call, len(frame))
        except Exception as error:  # the caller's own, of progress=, or the result is too large
            call.fail(error)
            self._take_back(number)

    def _call_of(self, number: int | None) -> tuple[int, _Call | None]:
        """Gives a call that still waits for its answer."""
        if number is None:
            # What has no id can only be for the call that waits longest.
            number = next(iter(self.waiting), 0)
        call = self.waiting.get(number)
        return number, None if call is None or call.reply.done() else call

    def _unread(self, data: memoryview, error: Exception) -> None:
        """Ends the call whose answer cannot be read, as far as that can be told."""
        try:
            number = number_of(_codec.unpack_bare(data), self._session.client)
            is_sound = True  # it is the decoder's error
        except Exception:
            number, is_sound = None, False
        _, call = self._call_of(number)
        if call is not None and is_sound:
            call.fail(error)
        elif call is not None:
            why = f"{type(error).__name__}: {error}"
            call.fail(unreadable(self._session.url, call.target, why))

    def _arrived(self, reply: Any, number: int, call: _Call, size: int) -> None:
        if is_part(reply, self._session.client, number):
            more = call.parts.take(reply)
            if more:
                self._tell(self._session.credit(self.packer, number, more))
        elif is_answer(reply, self._session, call.target, number) and is_whole(reply, call.parts):
            note_size(call.target, size)
            call.reply.set_result(reply)

    def _begin_to_watch(self) -> None:
        self._watching = self.loop.create_task(self._watch())
        self._watching.add_done_callback(self._watched)

    def _watched(self, watching: asyncio.Task[None]) -> None:
        # The event loop ends, and cancels its tasks: nobody else may come to close the socket.
        if watching is self._watching:
            self.close()

    async def _watch(self) -> None:
        while True:
            left = self._given_up - time.monotonic()
            if not await self._monitor.poll(None if left == math.inf else max(0, left * 1000)):
                self._begin_anew()
                continue
            event = _dealer.event_of(await self._monitor.recv_multipart())
            self._given_up = math.inf
            if event == _dealer.UP:
                self._up.set()
            if event != _dealer.DOWN:
                continue
            was_up = self._up.is_set()
            self._up.clear()
            self._doubt()
            # What was answered before the connection broke counts. What comes after that many
            # turns is of another connection.
            for _ in range(_TURNS):
                if not await self._socket.poll(0):
                    break
                await asyncio.sleep(0)
            self._lose()
            now = time.monotonic()
            self._given_up = now + random.uniform(*_dealer.GIVEN_UP_S)
            if was_up:
                self._hurry_until = now + _dealer.HURRY_S
            elif self._is_hurried and now >= self._hurry_until:
                # Taken and closed at once: libzmq's pauses begin anew each time, with the shortest.
                self._given_up = now
            await self._hurry()

    async def _hurry(self) -> None:
        """Begins to connect anew again and again, until something comes of it."""
        while time.monotonic() < self._hurry_until:
            if await self._monitor.poll(_dealer.HURRY_PAUSE_S * 1000):
                return
            self._begin_anew(hurried=True)

    def _begin_anew(self, *, hurried: bool = False) -> None:
        self._given_up = math.inf
        reading, *old = self._reading, self._socket, self._monitor
        with contextlib.suppress(NotSent):  # without room for another, libzmq goes on with this
            self._open(hurried=hurried)
            reading.cancel()
            _dealer.shut(*old)

    def close(self) -> None:
        """Closes the socket; calls under way end as if the connection broke."""
        if self.closed:
            return
        self.closed = True
        if not self.loop.is_closed():  # else nobody waits
            self._watching.cancel()
            self._reading.cancel()
            for call in self.waiting.values():
                call.fail(self._session.lost(call.target))
            self._up.set()
        _dealer.shut(self._socket, self._monitor)
