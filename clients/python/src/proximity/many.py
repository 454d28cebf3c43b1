"""Many calls at once: to one object in a batch, and to many objects."""

from __future__ import annotations

import collections
import concurrent.futures
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple

from . import client
from ._attempt import Attempt, LostError
from ._link import Link
from ._parts import Parts, is_part, is_whole, number_of
from ._session import LOOK, Target, is_answer, unreadable
from .errors import NotExecuted, OutcomeUnknown, ProximityError, Timeout, call_error


class _Later(concurrent.futures.Future[Any]):
    """The future of a batch's call. Who sends the batch cannot wait for it before."""

    def __init__(self, batch: Batch) -> None:
        super().__init__()
        self._batch = batch

    def result(self, timeout: float | None = None) -> Any:
        self._batch._check_sent()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._batch._check_sent()
        return super().exception(timeout)


class _Item:
    def __init__(
        self, batch: Batch, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.target = target
        self.args = args
        self.kwargs = kwargs
        self.future = _Later(batch)
        self.attempt: Attempt | None = None
        self.parts: Parts | None = None
        self._wanted: bool | None = None

    def begin(self) -> bool:
        """Whether the call is to be made: its future can be cancelled until this was asked."""
        if self._wanted is None:
            self._wanted = self.future.set_running_or_notify_cancel()
        return self._wanted

    def fail(self, error: BaseException) -> None:
        """Settles the future by an error, if it is wanted."""
        if self.begin() and not self.future.done():
            self.future.set_exception(error)

    def leave(self, url: str) -> None:
        """Settles the future of a call that nobody waits for any more."""
        if self._wanted is None:
            self.future.cancel()
        self.fail(
            call_error(
                OutcomeUnknown,
                f"{self.target} was sent to {url}, and its batch was ended before the answer",
                hint=LOOK,
            )
        )


class Batch:
    """Calls to one object that are sent together, without waiting for each answer in turn.

    ::

        with srbs.batch() as batch:
            revision = batch.read_uint("sys_rev")
            clock = batch.read_uint("sys_clkcounter")
        print(revision.result(), clock.result())

    Calls give futures; the end of the ``with`` block sends them and waits, all within one time
    limit. The object runs them in their order. ``list(batch)`` gives the futures.
    """

    def __init__(self, proxy: client.Proxy, timeout: float) -> None:
        self._link = proxy._link
        self._name = proxy._name
        self._holding = proxy._holding
        self._timeout = timeout
        self._items: list[_Item] = []
        # The thread in whose ``with`` block the batch is.
        self._thread: int | None = None

    def __getattr__(self, method: str) -> Callable[..., concurrent.futures.Future[Any]]:
        if method.startswith("_"):
            raise AttributeError(f"'Batch' object has no attribute '{method}'")
        target = Target("call", self._name, method, self._holding)

        def later(*args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
            if self._thread is None:
                raise RuntimeError(f"write: with {self._name}.batch() as batch: batch.{method}(..)")
            item = _Item(self, target, args, kwargs)
            self._items.append(item)
            return item.future

        return later

    def __iter__(self) -> Iterator[concurrent.futures.Future[Any]]:
        return iter([item.future for item in self._items])

    def __len__(self) -> int:
        return len(self._items)

    def _check_sent(self) -> None:
        if self._thread == threading.get_ident():
            raise RuntimeError("the calls of a batch are made when its with block ends, not before")

    def __enter__(self) -> Batch:
        self._items = []
        self._thread = threading.get_ident()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread = None
        try:
            if error is None:
                run(self._link, self._items, self._timeout)
        finally:  # also by Ctrl-C, and where there is no answer that can be used
            for item in self._items:
                item.leave(self._link.url)


def run(link: Link, items: Iterable[_Item], timeout: float) -> None:
    """Makes the calls of `items` over one connection and settles their futures."""
    began = time.monotonic()
    end = began + timeout
    again = collections.deque(items)
    while again:
        again = _pass(link, again, began, end)
        # Whatever is left was refused, or lost, for reasons that a new hello puts right.
        link.session.fresh_until = min(link.session.fresh_until, time.monotonic())


def _pass(
    link: Link, queue: collections.deque[_Item], began: float, end: float
) -> collections.deque[_Item]:
    """Makes the calls in `queue`; gives back those to make again."""
    session, connection = link.session, link.take()
    again: collections.deque[_Item] = collections.deque()
    waiting: dict[int, _Item] = {}
    try:
        if connection.came_back(began) or time.monotonic() >= session.fresh_until:
            link.hello(connection, queue[0].target, began, end)
        while queue or waiting:
            # No more than the agent queues: it would refuse the rest.
            while queue and len(waiting) < session.window:
                item = queue[0]
                if not item.begin():
                    queue.popleft()
                    continue
                attempt = item.attempt = item.attempt or Attempt(session, item.target, end)
                try:
                    if attempt.is_lost and not link.may_repeat(attempt, item.target, end):
                        raise attempt.not_repeated()
                    data = attempt.request(connection.packer, item.args, item.kwargs)
                except Exception as error:  # also whatever an encoder of the user's raises
                    item.fail(error)
                else:
                    connection.send(session, item.target, data, began, end)
                    waiting[attempt.number] = item
                    connection.note_sent(attempt.number)
                queue.popleft()
            if waiting:
                target = next(iter(waiting.values())).target
                reply = connection.receive(session, target, began, end)
                under_way = len(waiting)
                more = _settle(reply, target, link, waiting, again)
                if more:
                    connection.tell(session.credit(connection.packer, *more))
                if len(waiting) == under_way and time.monotonic() >= end:
                    raise session.not_answered(target, end - began)
        connection.note_sent(0)
    except LostError:
        # In their order: those that were sent first, then those that were not.
        link.give_back(connection)
        for item in waiting.values():
            if item.attempt is not None:
                item.attempt.lose()
        return collections.deque((*again, *waiting.values(), *queue))
    except ProximityError as error:
        link.give_up(connection, error)
        for item in waiting.values():
            item.fail(_not_answered(link, error, item, end - began))
        for item in (*queue, *again):
            item.fail(_not_sent(link, error, item, end - began))
        return collections.deque()
    except BaseException as error:
        link.give_up(connection, error)
        raise
    link.give_back(connection)
    return again


def _settle(
    reply: Any,
    target: Target,
    link: Link,
    waiting: dict[int, _Item],
    again: collections.deque[_Item],
) -> tuple[int, int] | None:
    """Takes a message in; gives a call's number and how many more chunks may come for it."""
    try:
        number = number_of(reply, link.session.client)
    except ValueError as error:
        raise unreadable(link.session.url, target, str(error)) from None
    if not isinstance(reply, dict):
        raise unreadable(link.session.url, target, "it is no dict")
    if number is None:
        number = next(iter(waiting))
    item = waiting.get(number)
    if item is None or item.attempt is None:
        return None
    if is_part(reply, link.session.client, number):
        item.parts = item.parts or Parts(link.session, item.target, None)
        try:
            more = item.parts.take(reply)
        except ProximityError as error:
            del waiting[number]
            item.fail(error)
            return None
        return (number, more) if more else None
    if not is_answer(reply, link.session, item.target, number):
        return None
    if not is_whole(reply, item.parts):
        return None
    del waiting[number]
    if "ok" in reply:
        item.future.set_result(reply["ok"])
        return None
    failure = item.attempt.refused(reply)
    if failure is None:
        again.append(item)
    else:
        item.fail(failure)
    return None


def _not_answered(link: Link, error: ProximityError, item: _Item, waited: float) -> ProximityError:
    """Gives what an error of the connection means for a call that was sent over it."""
    if isinstance(error, OutcomeUnknown) and not isinstance(error, Timeout):
        return unreadable(link.session.url, item.target, error.message)
    return link.session.not_answered(item.target, waited)


def _not_sent(link: Link, error: ProximityError, item: _Item, waited: float) -> ProximityError:
    """Gives what an error of the connection means for a call that was not sent over it."""
    known = error if isinstance(error, NotExecuted) else link.session.not_sent(item.target, waited)
    return item.attempt.failed(known, waited) if item.attempt is not None else known


class Answer(NamedTuple):
    """What one object answered to a broadcast: a value, or an error that is not None."""

    object: client.Proxy
    value: Any
    error: Exception | None

    def __repr__(self) -> str:
        where = f"{self.object._link.url} {self.object._name}"
        if self.error is None:
            return f"<{where}: {self.value!r}>"
        return f"<{where}: {type(self.error).__name__}: {self.error}>"


class Broadcast:
    """Many objects as one: calling a method calls it on all of them at the same time.

    A call gives a list of `Answer`, in the order of the objects, each with a value or an error. It
    also takes ``timeout=``, seconds for all of them together.
    """

    def __init__(self, proxies: Iterable[client.Proxy]) -> None:
        if isinstance(proxies, client.Proxy):
            raise TypeError("broadcast() takes a list of proxies, as [agent.srbs, other.srbs]")
        self._proxies = list(proxies)
        for proxy in self._proxies:
            if not isinstance(proxy, client.Proxy):
                raise TypeError(f"broadcast() takes proxies, not {type(proxy).__name__}")

    def __getattr__(self, method: str) -> Callable[..., list[Answer]]:
        if method.startswith("_"):
            raise AttributeError(f"'Broadcast' object has no attribute '{method}'")

        def everywhere(*args: Any, **kwargs: Any) -> list[Answer]:
            futures = [
                client.Proxy.call_async(proxy, method, *args, **kwargs) for proxy in self._proxies
            ]
            answers = []
            for proxy, future in zip(self._proxies, futures):
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                value = None if error else future.result()
                answers.append(Answer(proxy, value, error))
            return answers

        return everywhere

    def __dir__(self) -> list[str]:
        return sorted(set().union(*(dir(proxy) for proxy in self._proxies)))

    def __len__(self) -> int:
        return len(self._proxies)

    def __repr__(self) -> str:
        return f"<Broadcast to {len(self._proxies)} objects>"


def broadcast(proxies: Iterable[client.Proxy]) -> Broadcast:
    """Gives many objects as one: ``broadcast(boards).read_uint("sys_rev")`` asks all at once."""
    return Broadcast(proxies)
