"""Hardware within reach: the objects of a Proximity agent, as if they were local.

::

    from proximity import Proxy

    srbs = Proxy("tcp://colossus:5555", "srbs")
    srbs.read_uint("sys_clkcounter")

`Proxy` is an object, `Agent` lists and describes the objects of one agent, `AsyncProxy` is for
asyncio, `broadcast` asks many at once, and `Server` is the other side: it exposes Python objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._codec import add_custom_encoding, remove_custom_encoding
from ._lease import Lease, LeaseInfo
from .client import Agent, Proxy
from .errors import (
    CallError,
    LeaseLost,
    Locked,
    NotExecuted,
    NotSent,
    OutcomeUnknown,
    ProximityError,
    RemoteError,
    RemoteTraceback,
    Timeout,
    Unreachable,
)

if TYPE_CHECKING:
    from .aio import AsyncLease, AsyncProxy
    from .many import Answer, Batch, Broadcast, broadcast
    from .server import Server, effect

__all__ = [
    "Agent",
    "Answer",
    "AsyncLease",
    "AsyncProxy",
    "Batch",
    "Broadcast",
    "CallError",
    "Lease",
    "LeaseInfo",
    "LeaseLost",
    "Locked",
    "NotExecuted",
    "NotSent",
    "OutcomeUnknown",
    "ProximityError",
    "Proxy",
    "RemoteError",
    "RemoteTraceback",
    "Server",
    "Timeout",
    "Unreachable",
    "add_custom_encoding",
    "broadcast",
    "effect",
    "remove_custom_encoding",
]

__version__ = "0.1.0"

# Loaded when first asked for: a first call should not wait for asyncio.
_LATER = {
    "Answer": "many",
    "AsyncLease": "aio",
    "AsyncProxy": "aio",
    "Batch": "many",
    "Broadcast": "many",
    "Server": "server",
    "broadcast": "many",
    "effect": "server",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'proximity' has no attribute '{name}'")
    import importlib

    value = getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
