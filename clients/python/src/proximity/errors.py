"""What can come of a call instead of its value.

::

    ProximityError
    |-- RemoteError             the object's own error; also the Python builtin of its class
    `-- CallError               the call did not come through
        |-- NotExecuted         it did not run, and will not
        |   |-- NotSent         it never left this machine (Unreachable, a ConnectionError)
        |   |-- Locked          somebody else has the object for himself
        |   `-- LeaseLost       the lease that it was made under has ended
        |-- OutcomeUnknown      it may have run, be running, or run no more
        `-- Timeout             any of these, where the deadline ended it (a TimeoutError)
"""

from __future__ import annotations

import builtins
import contextlib
import functools
from collections.abc import Iterable
from typing import Any

__all__ = [
    "CallError",
    "LeaseLost",
    "Locked",
    "NotExecuted",
    "NotSent",
    "OutcomeUnknown",
    "ProximityError",
    "RemoteError",
    "RemoteTraceback",
    "Timeout",
    "Unreachable",
]


class ProximityError(Exception):
    """An error with one line of fact, and behind it detail and advice.

    message: the fact, one line
    detail: further lines, outermost cause first
    hint: advice; None where there is none
    """

    def __init__(
        self, message: str, *, detail: Iterable[str] = (), hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = list(detail)
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message, *self._shown_detail()]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)

    def _shown_detail(self) -> list[str]:
        return ["  " + line.rstrip("\n") for line in self.detail]


class RemoteTraceback(Exception):
    """The traceback of the other side; Python shows it as the cause of a `RemoteError`."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return "\n" + self.text


class RemoteError(ProximityError):
    """The object raised an error, or has no such method or attribute.

    Where the class is one of Python's own, what is raised is also that builtin, so that
    ``except ZeroDivisionError`` works.

    class_name: the error's class on the other side
    executed: "yes" where the method ran, "no" where it did not (wrong arguments), or "unknown"
    remote_traceback: the other side's traceback as text; empty for objects that have none
    """

    class_name = "RemoteError"
    executed = "unknown"

    @classmethod
    def of(
        cls,
        class_name: str,
        message: str,
        detail: Iterable[str] = (),
        hint: str | None = None,
        executed: str = "unknown",
    ) -> RemoteError:
        """Makes the error for what came over the wire."""
        error = _remote_class(class_name)(message, detail=detail, hint=hint)
        error.class_name = class_name
        error.executed = executed
        if error.remote_traceback:
            error.__cause__ = RemoteTraceback(error.remote_traceback)
        return error

    @property
    def remote_traceback(self) -> str:
        """The other side's traceback, ready to print; empty for objects that have none."""
        if not _is_traceback(self.detail):
            return ""
        lines = "\n".join(line.rstrip("\n") for line in self.detail)
        return f"Traceback on the other side (most recent call last):\n{lines}\n{self._fact()}"

    def _fact(self) -> str:
        return f"{self.class_name}: {self.message}"

    def __str__(self) -> str:
        text = super().__str__()
        # A class that this Python has too is shown by Python itself, in front of the message.
        return text if isinstance(self, _Named) else f"{self.class_name}: {text}"

    def _shown_detail(self) -> list[str]:
        return [] if _is_traceback(self.detail) else super()._shown_detail()

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.class_name, self.message, self.detail, self.hint, self.executed)
        return (RemoteError.of, arguments)


class CallError(ProximityError):
    """The call did not come through; the object itself has said nothing.

    reason: why the agent refused it ("Busy", "StaleEpoch", ..); None where the agent said nothing
    """

    reason: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        kinds = (NotSent, Locked, LeaseLost, NotExecuted, OutcomeUnknown, CallError)
        kind = next(kind for kind in kinds if isinstance(self, kind))
        return (_rebuild, (kind, isinstance(self, Timeout), self.message, self.__dict__.copy()))


class NotExecuted(CallError):
    """The call did not run, and will not."""


class NotSent(NotExecuted, ConnectionError):
    """The call never left this machine: the agent could not be reached."""


class Locked(NotExecuted):
    """Somebody else has locked the object.

    holder: who, in his own words, and where he calls from
    expires_in: seconds until his lease ends, unless he renews it
    """

    reason = "Locked"
    holder = ""
    expires_in = 0.0


class LeaseLost(NotExecuted):
    """The lease under which the call was made has ended, or was stolen."""

    reason = "LeaseLost"


class OutcomeUnknown(CallError):
    """The call was sent and not answered: it may have run, be running, or run no more.

    Calls that only read may simply be made again. After one that writes, look before repeating it.
    """


class Timeout(CallError, TimeoutError):
    """The deadline ended the call. Always raised as one of the other kinds as well."""


Unreachable = NotSent


class _NotExecutedTimeout(NotExecuted, Timeout):
    pass


class _NotSentTimeout(NotSent, Timeout):
    pass


class _OutcomeUnknownTimeout(OutcomeUnknown, Timeout):
    pass


_TIMED_OUT: dict[type[CallError], type[CallError]] = {
    NotExecuted: _NotExecutedTimeout,
    NotSent: _NotSentTimeout,
    OutcomeUnknown: _OutcomeUnknownTimeout,
}
for _kind, _timed_out in _TIMED_OUT.items():
    # A person reads the outcome; that it is a Timeout too shows in the words of the message.
    _timed_out.__name__ = _timed_out.__qualname__ = _kind.__name__


def call_error(
    kind: type[CallError],
    message: str,
    *,
    detail: Iterable[str] = (),
    hint: str | None = None,
    reason: str | None = None,
    timed_out: bool = False,
) -> CallError:
    """Makes the error of one `kind`, also a `Timeout` where the deadline ended the call."""
    if timed_out:
        kind = _TIMED_OUT[kind]
    error = kind(message, detail=detail, hint=hint)
    error.reason = reason
    return error


class _Named(RemoteError):
    """A remote error whose class this Python has as well."""


# Python gives these a meaning of its own wherever they are raised.
_NEVER = (StopIteration, StopAsyncIteration)


@functools.lru_cache(maxsize=256)
def _remote_class(name: str) -> type[RemoteError]:
    builtin = getattr(builtins, name, None)
    if not (isinstance(builtin, type) and issubclass(builtin, Exception)):
        return RemoteError
    for base in builtin.__mro__:
        # Some must be made in a way of their own, as UnicodeDecodeError: then what it is a kind of.
        with contextlib.suppress(TypeError):
            if issubclass(base, _NEVER):
                break
            made = type(name, (_Named, base), {"__module__": __name__})
            made("")
            return made
    return RemoteError


def _is_traceback(detail: list[str]) -> bool:
    return any(line.startswith('  File "') for line in detail)


def _rebuild(
    kind: type[CallError], timed_out: bool, message: str, state: dict[str, Any]
) -> CallError:
    error = call_error(kind, message, timed_out=timed_out)
    error.__dict__.update(state)
    return error
