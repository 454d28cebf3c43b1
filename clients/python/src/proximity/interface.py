"""An object's published interface, made into Python functions with signatures and documentation."""

from __future__ import annotations

import datetime
import functools
import inspect
import operator
import sys
from collections.abc import Callable
from typing import Any, Union

from . import _codec

_KNOWN = (bool, int, float, str, bytes, list, dict, datetime.datetime, datetime.timedelta)
_TYPES: dict[str, Any] = {kind.__name__: kind for kind in _KNOWN}
_TYPES.update({"None": None, "any": Any})
_ANYTHING = inspect.Signature(
    [
        inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
        inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
    ]
)


class Method:
    """One method, as its object describes it.

    name: what it is called
    doc: the usage line and the method's own documentation
    signature: its parameters, with defaults and types
    effect: "read", "write" or "admin"
    """

    def __init__(self, described: dict[str, Any]) -> None:
        self.name: str = described["name"]
        self.effect: str = described.get("effect", "write")
        self.signature = _signature(described)
        params = described.get("params", [])
        self.parameters = frozenset(param["name"] for param in params)
        plain = [param["name"] for param in params if param.get("kind") not in ("args", "kwargs")]
        self.doc = f"usage: {self.name}({', '.join(plain)})\n{described.get('doc') or ''}".rstrip(
            "\n"
        )

    def dress(self, function: Callable[..., Any], owner: str) -> Callable[..., Any]:
        """Gives `function` the name, the signature and the documentation of this method."""
        function.__name__ = self.name
        function.__qualname__ = f"{owner}.{self.name}"
        function.__doc__ = self.doc
        function.__module__ = "proximity"
        function.__signature__ = self.signature  # type: ignore[attr-defined]
        return function


class Attribute:
    """One attribute, as its object describes it."""

    def __init__(self, described: dict[str, Any]) -> None:
        self.name: str = described["name"]
        self.doc: str = described.get("doc") or ""
        self.settable: bool = bool(described.get("settable"))


class Interface:
    """What an object publishes.

    text: the interface definition as it came
    """

    def __init__(self, text: str) -> None:
        described = _codec.from_json(text.encode())
        self.described: dict[str, Any] = described
        self.doc: str = described.get("doc") or ""
        self.hash: int | None = described.get("hash")
        self.methods = {item["name"]: Method(item) for item in described.get("methods", [])}
        self.attributes = {
            item["name"]: Attribute(item) for item in described.get("attributes", [])
        }

    def summary(self, method: str) -> str:
        """Gives the first line of a method's own documentation."""
        lines = self.methods[method].doc.split("\n")[1:]
        return next((line for line in lines if line.strip()), "")


def _signature(described: dict[str, Any]) -> inspect.Signature:
    """Builds the signature; ``(*args, **kwargs)`` where Python has no such signature."""
    parameters, keyword_only = [], False
    for param in described.get("params", []):
        kind: Any = inspect.Parameter.POSITIONAL_OR_KEYWORD
        if param.get("kind") == "args":
            kind, keyword_only = inspect.Parameter.VAR_POSITIONAL, True
        elif param.get("kind") == "kwargs":
            kind = inspect.Parameter.VAR_KEYWORD
        elif keyword_only:
            kind = inspect.Parameter.KEYWORD_ONLY
        default = param.get("default", inspect.Parameter.empty)
        try:
            parameters.append(
                inspect.Parameter(
                    param["name"], kind, default=default, annotation=_annotation(param.get("type"))
                )
            )
        except ValueError:  # a name that is no identifier
            return _ANYTHING
    try:
        return inspect.Signature(
            parameters, return_annotation=_annotation(described.get("returns"))
        )
    except ValueError:  # an order that Python does not have
        return _ANYTHING


def _annotation(kind: str | None) -> Any:
    if kind in (None, "", "any"):
        return inspect.Signature.empty
    kinds = [_TYPES.get(part, part) for part in str(kind).split("|")]
    if len(kinds) == 1:
        return kinds[0]
    # Of a kind that it does not know, Python keeps the text.
    if any(isinstance(part, str) for part in kinds):
        return kind
    if sys.version_info < (3, 10):
        return Union[tuple(kinds)]
    return functools.reduce(operator.or_, kinds)
