"""What comes for a request before its final reply: progress, and a large result in chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import _codec
from ._session import FIRST_CREDIT, Session, Target
from .errors import RemoteError

Progress = Callable[[int, int, str], object]
"""Is told how much is done, of how much (0 where that is not known), and of what."""

# The agent is told after so many chunks that as many more may come.
_STEP = 8
# Results up to this size are quicker in one message.
_BULK = 2 << 20


def is_part(reply: Any, client: bytes, number: int) -> bool:
    """Whether a message is one that comes for request `number` before its final reply."""
    return (
        isinstance(reply, dict)
        and reply.get("v") == 2
        and ("chunk" in reply or "progress" in reply)
        and reply.get("id") == [client, number]
    )


def number_of(reply: Any, client: bytes) -> int | None:
    """Gives the number of the request that a message is for; None where it does not tell.

    Raises ValueError where it tells something else. It is 0 where another client made the request.
    """
    identity = reply.get("id") if isinstance(reply, dict) else None
    if identity is None:
        return None
    if type(identity) is list and len(identity) == 2 and type(identity[1]) is int:
        return identity[1] if identity[0] == client else 0
    raise ValueError("its id is not that of a request")


class Parts:
    """What has come so far for one request."""

    def __init__(self, session: Session, target: Target, progress: Progress | None) -> None:
        self._limit = session.max_reply
        self._target = target
        self._progress = progress
        self._chunks: list[bytes] = []
        self._count = 0
        self._size = 0

    def take(self, reply: dict[str, Any]) -> int:
        """Takes what `is_part` says is one; gives how many more chunks may come now."""
        if "progress" in reply:
            told = reply["progress"]
            if type(told) is list and len(told) == 3:
                self._tell(*told)
            return 0
        chunk, data = reply["chunk"], reply.get("data")
        if not (type(chunk) is list and [type(part) for part in chunk] == [int, int]):
            return 0  # as one that is missing
        if type(data) is not bytes:
            return 0
        index, count = chunk
        if index == 0:
            self._chunks, self._count, self._size = [], count, 0
        if index != len(self._chunks) or count != self._count or index >= count:
            return 0  # out of order: the result will not be whole
        self._chunks.append(data)
        self._size += len(data)
        # What is still to come counts too, as far as that is known.
        coming = max(0, count - index - 2) * len(data)
        if self._size + coming > self._limit:
            self._chunks = []
            raise RemoteError.of(
                "MemoryError",
                f"{self._target} returned more than the {self._limit} bytes that are taken",
                hint="read it in pieces, or allow more with Agent(.., max_reply=)",
                executed="yes",
            )
        got = len(self._chunks)
        self._tell(
            self._size,
            # The last is smaller, as is only known when it is there.
            self._size if got == count else count * len(self._chunks[0]),
            "bytes of the result",
        )
        return _STEP if got % _STEP == 0 and got + FIRST_CREDIT - _STEP < count else 0

    def whole(self, reply: dict[str, Any]) -> bool:
        """Makes the final `reply` one with its value in it; false where chunks are missing."""
        got = len(self._chunks)
        if not got or got != self._count or [got, self._size] != reply["chunks"]:
            return False
        data = b"".join(self._chunks)
        self._chunks = []
        # Where large ones are only a little larger, the next comes quicker in one message.
        self._target.bulk = len(data) > _BULK
        try:
            reply["ok"] = _codec.unpack(data)
        except ValueError:
            return False
        return True

    def _tell(self, done: int, total: int, text: str) -> None:
        if self._progress is not None:
            self._progress(done, total, text)


def is_whole(reply: Any, parts: Parts | None) -> bool:
    """Whether a final reply has its value in it; puts it there where it came in chunks."""
    if type(reply) is not dict or "chunks" not in reply:
        return True
    return parts is not None and parts.whole(reply)


def note_size(target: Target, size: int) -> None:
    """Notes the size of a reply that came in one message."""
    if size > _BULK:
        target.bulk = True
