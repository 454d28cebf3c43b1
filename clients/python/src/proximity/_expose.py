"""What of a Python object is published, and how it is described."""

from __future__ import annotations

import datetime
import functools
import hashlib
import inspect
import json
import re
import typing
from collections.abc import Callable, Iterator
from typing import Any

from . import _codec

_EFFECTS = ("read", "write", "admin")


def effect(kind: str) -> Callable[[Any], Any]:
    """Marks a method of an exposed class as one that can "read", "write" or "admin".

    Unmarked methods are taken for "write".
    """
    if kind not in _EFFECTS:
        raise ValueError(f"effect is '{kind}'; it must be read, write or admin")

    def mark(function: Any) -> Any:
        function.__proximity_effect__ = kind
        return function

    return mark


class Exposed:
    """The published side of a Python object.

    attributes: whether attributes and properties are published too
    include: regular expression for whole names; None is every public name
    exclude: regular expression for whole names to leave out; wins over `include`
    """

    def __init__(
        self,
        name: str,
        target: Any,
        attributes: bool = False,
        include: str | None = None,
        exclude: str | None = None,
    ) -> None:
        self.name = name
        self.target = target
        self.methods: dict[str, ExposedMethod] = {}
        self.attributes: dict[str, dict[str, Any]] = {}
        wanted = re.compile(include if include is not None else ".*", re.DOTALL)
        unwanted = re.compile(exclude) if exclude is not None else None
        for member in _public(target):
            if not wanted.fullmatch(member) or (unwanted and unwanted.fullmatch(member)):
                continue
            static = inspect.getattr_static(target, member, None)
            if _is_data(static):
                if attributes:
                    self.attributes[member] = _attribute(target, member, static)
                continue
            value = getattr(target, member, None)
            if isinstance(value, type):
                continue
            if callable(value):
                self.methods[member] = ExposedMethod(member, value)
            elif attributes:
                self.attributes[member] = _attribute(target, member, value)
        self.text = self._describe()
        self.hash = int.from_bytes(hashlib.sha256(self.text.encode()).digest()[:8], "big")

    def list_methods(self) -> list[list[str]]:
        """Gives the original's list: each method's name and documentation."""
        return [[method.name, method.listed] for method in self.methods.values()]

    def describe(self) -> str:
        """Gives the interface definition as JSON text."""
        return f'{self.text[:-1]}, "hash": {self.hash}}}'

    def _describe(self) -> str:
        described = {
            "name": self.name,
            "doc": _doc(self.target),
            "methods": [method.described for method in self.methods.values()],
            "attributes": list(self.attributes.values()),
        }
        return json.dumps(described)


class ExposedMethod:
    """One published method."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function
        self.signature = _signature(function)
        parameters = list(self.signature.parameters.values()) if self.signature else []
        named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        doc = _doc(function)
        usage = f"usage: {name}({', '.join(p.name for p in named)})"
        self.listed = f"{usage}\n{doc}"
        # Python 2 sends text as bytes or bytes as text: what a parameter is annotated with decides.
        kinds = {p.name: _text_or_bytes(p.annotation) for p in named}
        self._kinds = {key: kind for key, kind in kinds.items() if kind}
        self._places = [kinds[p.name] for p in named if p.kind != p.KEYWORD_ONLY]
        returns = self.signature.return_annotation if self.signature else inspect.Signature.empty
        if self.signature is None:
            params = [
                {"name": "args", "type": "any", "kind": "args", "doc": ""},
                {"name": "kwargs", "type": "any", "kind": "kwargs", "doc": ""},
            ]
        else:
            params = [_param(p, doc) for p in parameters]
        self.described = {
            "name": name,
            "usage": usage,
            "doc": doc,
            "params": params,
            "returns": _type_name(returns),
            "effect": getattr(function, "__proximity_effect__", "write"),
            "errors": [
                {"class": kind, "when": when}
                for kind, when in re.findall(r"^\s*raises (\w+): *(.*?) *$", doc, re.MULTILINE)
            ],
        }

    def call(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Runs the method. Raises WrongArguments where they do not fit its signature."""
        if self._kinds:
            args, kwargs = self._fit(args, kwargs)
        try:
            return self.function(*args, **kwargs)
        except TypeError as error:
            # Only where the arguments do not fit is it not the method's own.
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                self._check(args, kwargs)
            raise

    def _check(self, args: list[Any], kwargs: dict[str, Any]) -> None:
        if self.signature is not None:
            try:
                self.signature.bind(*args, **kwargs)
            except TypeError as error:
                raise WrongArgumentsError(f"{self.name}() {error}") from None

    def _fit(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        places = [*self._places, *[None] * len(args)]
        fitted = [_as_kind(arg, kind) for arg, kind in zip(args, places)]
        return fitted, {key: _as_kind(arg, self._kinds.get(key)) for key, arg in kwargs.items()}


class WrongArgumentsError(TypeError):
    """The arguments do not fit the method, which therefore did not run."""


def _public(target: Any) -> Iterator[str]:
    # The object's class may be anybody's, and its dir() anything.
    return (name for name in dir(target) if isinstance(name, str) and not name.startswith("_"))


# Python itself cannot tell these from data: they are methods only once they are looked up.
_WRAPPED = (staticmethod, classmethod, functools.partialmethod, functools.singledispatchmethod)


def _is_data(static: Any) -> bool:
    """Whether reading the attribute runs code of its own: a property, a slot."""
    looked_up = hasattr(type(static), "__get__")
    is_method = callable(static) or isinstance(static, _WRAPPED)
    return inspect.isdatadescriptor(static) or (looked_up and not is_method)


def _attribute(target: Any, name: str, static: Any) -> dict[str, Any]:
    settable = True
    kind, doc = _type_name(type(static)), ""
    if isinstance(static, property):
        settable, doc = static.fset is not None, _doc(static)
        kind = _type_name(_hints(static.fget).get("return", inspect.Signature.empty))
    elif _is_data(static):
        settable, kind, doc = hasattr(type(static), "__set__"), "any", _doc(static)
    return {"name": name, "type": kind, "doc": doc, "settable": settable}


def _signature(function: Any) -> inspect.Signature | None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # builtins may have none
        return None
    hints = _hints(function)
    parameters = [
        parameter.replace(annotation=hints.get(parameter.name, parameter.annotation))
        for parameter in signature.parameters.values()
    ]
    returns = hints.get("return", signature.return_annotation)
    return signature.replace(parameters=parameters, return_annotation=returns)


def _hints(function: Any) -> dict[str, Any]:
    """Gives the annotations, also where they were written as text."""
    try:
        return typing.get_type_hints(function)
    except Exception:  # text that names what is not there
        return {}


def _doc(thing: Any) -> str:
    doc = inspect.getdoc(thing)
    return doc if isinstance(doc, str) else ""


def _param(parameter: inspect.Parameter, doc: str) -> dict[str, Any]:
    kinds: dict[Any, str] = {parameter.VAR_POSITIONAL: "args", parameter.VAR_KEYWORD: "kwargs"}
    told = re.search(rf"^\s*{re.escape(parameter.name)}: *(.*?) *$", doc, re.MULTILINE)
    described = {
        "name": parameter.name,
        "type": _type_name(parameter.annotation),
        "kind": kinds.get(parameter.kind, "positional"),
        "doc": told.group(1) if told else "",
    }
    if parameter.default is not parameter.empty:
        try:
            described["default"] = _codec.jsonable(parameter.default)
        except (TypeError, ValueError):
            described["default"] = None  # it has one, and the wire has no form for it
    return described


def _type_name(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty or annotation is Any:
        return "any"
    if annotation is None:
        return "None"
    if annotation in (datetime.datetime, datetime.timedelta, type(None)):
        return "None" if annotation is type(None) else str(annotation.__name__)
    # Optional[int] and int | None, which are of several kinds, are int|None.
    if isinstance(annotation, str) or "Union" in str(typing.get_origin(annotation)):
        kinds = typing.get_args(annotation)
        return "|".join(map(_type_name, kinds)) if kinds else annotation.replace(" | ", "|")
    return inspect.formatannotation(annotation)


def _text_or_bytes(annotation: Any) -> type | None:
    return (
        {str: str, bytes: bytes, "str": str, "bytes": bytes}.get(annotation)
        if (isinstance(annotation, (str, type)))
        else None
    )


def _as_kind(value: Any, kind: type | None) -> Any:
    if kind is str and type(value) is bytes:
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value.encode() if kind is bytes and type(value) is str else value
