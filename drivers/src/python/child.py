"""The child's side of an object of driver "python"; drivers/src/python.rs tells of the whole.

    agent -> child    length, [class, path, args, kwargs]      once, answered with the interface
    agent -> child    length, [op, name, args, kwargs]         op is call, get or set
    child -> agent    kind, length, value                      kind is v, or e: [class, message, lines],
                                                               or b: the same, before the method ran

Lengths are four bytes, the rest is MessagePack. Needs nothing but Python's own library. `agent`, the
file that all this comes from, was opened by what runs this text, as was `answers`, where it goes.
"""

import datetime
import faulthandler
import functools
import importlib
import inspect
import operator
import os
import re
import signal
import struct
import sys
import traceback
import typing
from collections.abc import Mapping

OWN = "<proximity>"  # what tracebacks call this text
MAX_DEPTH = 32  # how deep lists and dicts of a result may nest
MAX_ANSWER = 1 << 30  # bytes of an answer: the agent takes no longer one
TIME_FORMAT = "%Y%m%dT%H:%M:%S.%f"


# Values to bytes, in the forms of docs/wire.md: text never as str 8, bytes as bin, numbers in their
# smallest form, keys as text.


def pack(value):
    parts = []
    write(value, parts.append, 0)
    return b"".join(parts)


def write(value, put, depth):
    kind = type(value)
    if kind is str:
        write_text(value, put)
    elif value is None:
        put(b"\xc0")
    elif kind is bool:
        put(b"\xc3" if value else b"\xc2")
    elif kind is int:
        put(number(value))
    elif kind is float:
        put(struct.pack(">Bd", 0xCB, value))
    elif kind is bytes:
        put(head(len(value), 0xC4, 0xC5, 0xC6))
        put(value)
    elif kind is list or kind is tuple:
        descend(depth)
        put(short_head(len(value), 0x90, 16) or head(len(value), None, 0xDC, 0xDD))
        for item in value:
            write(item, put, depth + 1)
    elif kind is dict:
        descend(depth)
        put(short_head(len(value), 0x80, 16) or head(len(value), None, 0xDE, 0xDF))
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"the dict key {short(key)} is no text; only text can be a key")
            write_text(str.__str__(key), put)
            write(item, put, depth + 1)
    else:
        write(plain(value), put, depth)


def write_text(value, put):
    data = value.encode()
    put(short_head(len(data), 0xA0, 32) or head(len(data), None, 0xDA, 0xDB))
    put(data)


def number(value):
    if value >= 0:
        forms = ((0x7F, ">B", None), (0xFF, ">BB", 0xCC), (0xFFFF, ">BH", 0xCD))
        forms += ((0xFFFFFFFF, ">BI", 0xCE), (0xFFFFFFFFFFFFFFFF, ">BQ", 0xCF))
        fitting = (form for form in forms if value <= form[0])
    else:
        forms = ((-0x20, ">b", None), (-0x80, ">Bb", 0xD0), (-0x8000, ">Bh", 0xD1))
        forms += ((-0x80000000, ">Bi", 0xD2), (-0x8000000000000000, ">Bq", 0xD3))
        fitting = (form for form in forms if value >= form[0])
    for _, form, marker in fitting:
        return struct.pack(form, value) if marker is None else struct.pack(form, marker, value)
    raise ValueError(f"{short(value)} does not fit in 64 bits")


def short_head(count, marker, below):
    return bytes((marker | count,)) if count < below else b""


def head(count, marker8, marker16, marker32):
    if marker8 is not None and count < 1 << 8:
        return struct.pack(">BB", marker8, count)
    if count < 1 << 16:
        return struct.pack(">BH", marker16, count)
    return struct.pack(">BI", marker32, count)


def descend(depth):
    if depth >= MAX_DEPTH:
        raise ValueError(f"lists and dicts nest deeper than {MAX_DEPTH}")


def plain(value):
    """Gives the value of a kind the wire has that stands for `value`, one level deep."""
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:  # the wire has no zones
            value = value.astimezone(datetime.timezone.utc)
        # strftime leaves out the zeros of an early year.
        text = f"{value.year:04}{value:%m%dT%H:%M:%S.%f}"
        return {"__datetime__": True, "as_str": text}
    if isinstance(value, datetime.timedelta):
        return {"__timedelta__": True, "total_seconds": value.total_seconds()}
    if isinstance(value, str):
        return str.__str__(value)
    for kind in (int, float, bytes):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, (dict, Mapping)):
        return dict(value)
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        number = value.item()  # of numpy, as long as Python has such a one
        # Of a time in units that Python does not have, it is only the count.
        is_count = type(number) is int and getattr(value.dtype, "kind", "") in "mM"
        if type(number) is not type(value) and not is_count:
            return number
        raise no_form(value)
    for reading in (buffered, operator.index):
        try:
            return reading(value)
        except (TypeError, ValueError):
            continue
    raise no_form(value)


def no_form(value):
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    return TypeError(f"a value of class {name} has no form on the wire")


def buffered(value):
    """Gives the bytes of a bytearray, a numpy array, an array.array, ..."""
    if getattr(getattr(value, "dtype", None), "hasobject", False):
        raise TypeError("the bytes of an array of objects are where they are in memory")
    return memoryview(value).tobytes()


def short(value):
    try:
        text = repr(value)
    except ValueError:  # an int with more digits than Python likes to print
        text = f"a number of {value.bit_length()} bits"
    return text if len(text) <= 60 else text[:57] + "..."


# Bytes to values. The agent has checked them: they are whole, and not too deep.

FORMS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
FORMS.update({0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"})
# The width of the length, and what has it.
SIZED = {0xC4: (1, "bin"), 0xC5: (2, "bin"), 0xC6: (4, "bin")}
SIZED.update({0xD9: (1, "str"), 0xDA: (2, "str"), 0xDB: (4, "str")})
SIZED.update({0xDC: (2, "list"), 0xDD: (4, "list"), 0xDE: (2, "dict"), 0xDF: (4, "dict")})
CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}


def read(data, at):
    """Gives the value at `at` and where the next one is."""
    marker = data[at]
    at += 1
    if marker < 0x80:
        return marker, at
    if marker >= 0xE0:
        return marker - 0x100, at
    if marker in CONSTANTS:
        return CONSTANTS[marker], at
    if marker in FORMS:
        form = FORMS[marker]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    if marker < 0xC0:
        if marker >= 0xA0:
            count, kind = marker & 0x1F, "str"
        else:
            count, kind = marker & 0x0F, "list" if marker >= 0x90 else "dict"
    else:
        width, kind = SIZED[marker]
        count = int.from_bytes(data[at : at + width], "big")
        at += width
    if kind == "bin":
        return data[at : at + count], at + count
    if kind == "str":
        return text_or_bytes(data[at : at + count]), at + count
    if kind == "list":
        items = []
        for _ in range(count):
            item, at = read(data, at)
            items.append(item)
        return items, at
    pairs = {}
    for _ in range(count):
        key, at = read(data, at)
        pairs[key if isinstance(key, str) else key.decode()], at = read(data, at)
    return decoded(pairs), at


def text_or_bytes(data):
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data  # what Python 2 calls str


def decoded(value):
    try:
        if "__datetime__" in value:
            text = value["as_str"]
            text = text.decode() if isinstance(text, bytes) else text
            return datetime.datetime.strptime(text, TIME_FORMAT)
        if "__timedelta__" in value:
            return datetime.timedelta(seconds=value["total_seconds"])
    except (KeyError, OverflowError, TypeError, ValueError):
        pass  # it only looks like a time
    return value


# What of the object is published.


class Method:
    def __init__(self, target, name, function):
        self.name = name
        self.function = function
        try:
            self.signature = inspect.signature(function)
        except (TypeError, ValueError):  # builtins may have none
            self.signature = None
        parameters = self.signature.parameters.values() if self.signature else ()
        # Python 2 sends text as bytes or bytes as text: what a parameter is annotated with decides.
        kinds = {p.name: KINDS.get(p.annotation) for p in parameters if hashable(p.annotation)}
        self.kinds = {name: kind for name, kind in kinds.items() if kind}
        places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self.places = [self.kinds.get(p.name) for p in places]
        returns = self.signature.return_annotation if self.signature else inspect.Signature.empty
        if self.signature is None:
            params = [{"name": kind, "type": "any", "kind": kind} for kind in ("args", "kwargs")]
        else:
            params = [param(p) for p in parameters]
        effects = getattr(target, "_proximity_effects", None)
        effect = getattr(function, "__proximity_effect__", None)
        if effect is None and isinstance(effects, dict):
            effect = effects.get(name)
        self.described = {
            "name": name,
            "doc": doc_of(function),
            "params": params,
            "returns": type_name(returns),
            "effect": str(effect or "write"),
        }

    def call(self, args, kwargs):
        if self.kinds:
            args = [fit(arg, kind) for arg, kind in zip(args, self.places)] + args[len(self.places) :]
            kwargs = {name: fit(arg, self.kinds.get(name)) for name, arg in kwargs.items()}
        try:
            return self.function(*args, **kwargs)
        except TypeError as error:
            # Raised at the call itself: the arguments do not fit, and the method has not run.
            if error.__traceback__.tb_next is None and self.signature is not None:
                self.check(args, kwargs)
            raise

    def check(self, args, kwargs):
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise WrongArgumentsError(f"{self.name}() {error}") from None


class WrongArgumentsError(TypeError):
    """The arguments do not fit the method, which has not run."""


KINDS = {str: str, "str": str, bytes: bytes, "bytes": bytes}


def hashable(thing):
    try:
        hash(thing)
    except TypeError:
        return False
    return True


def fit(value, kind):
    if kind is str and type(value) is bytes:
        return text_or_bytes(value)
    return value.encode() if kind is bytes and type(value) is str else value


def param(parameter):
    kinds = {parameter.VAR_POSITIONAL: "args", parameter.VAR_KEYWORD: "kwargs"}
    described = {
        "name": parameter.name,
        "type": type_name(parameter.annotation),
        "kind": kinds.get(parameter.kind, "positional"),
    }
    if parameter.default is not parameter.empty:
        try:
            pack(parameter.default)
            described["default"] = parameter.default
        except Exception:  # its class may be anybody's
            described["default"] = None  # it has one, and the wire has no form for it
    return described


def type_name(annotation):
    if annotation is inspect.Parameter.empty or annotation is typing.Any:
        return "any"
    if annotation is None or annotation is type(None):
        return "None"
    if annotation in (datetime.datetime, datetime.timedelta):
        return annotation.__name__
    # Optional[int] and int | None, which are of several kinds, are int|None.
    if isinstance(annotation, str) or "Union" in str(getattr(annotation, "__origin__", type(annotation))):
        kinds = getattr(annotation, "__args__", None)
        return "|".join(map(type_name, kinds)) if kinds else annotation.replace(" | ", "|")
    return inspect.formatannotation(annotation)


def doc_of(thing):
    doc = inspect.getdoc(thing)
    return doc if isinstance(doc, str) else ""


def is_data(static):
    """Whether reading the attribute runs code of its own: a property, a slot."""
    wrapped = (staticmethod, classmethod, functools.partialmethod, functools.singledispatchmethod)
    is_method = isinstance(static, wrapped) or inspect.isroutine(static) or callable(static)
    return inspect.isdatadescriptor(static) or (hasattr(type(static), "__get__") and not is_method)


def attribute(name, static):
    settable, kind, doc = True, type_name(type(static)), ""
    if isinstance(static, property):
        settable, doc = static.fset is not None, doc_of(static)
        hints = getattr(static.fget, "__annotations__", {})
        kind = type_name(hints.get("return", inspect.Signature.empty))
    elif is_data(static):
        settable, kind, doc = hasattr(type(static), "__set__"), "any", doc_of(static)
    return {"name": name, "type": kind, "doc": doc, "settable": settable}


class Published:
    """The published side of the object: public methods, properties, and data the wire has forms for."""

    def __init__(self, target):
        self.target = target
        self.methods = {}
        self.attributes = {}
        for name in dir(target):
            if not isinstance(name, str) or name.startswith("_"):
                continue
            static = inspect.getattr_static(target, name, None)
            # Properties are not read here: they may ask a device.
            if is_data(static):
                self.attributes[name] = attribute(name, static)
                continue
            try:
                value = getattr(target, name)
            except Exception:  # made by a __getattr__ of anybody's
                continue
            if isinstance(value, type):
                continue
            if callable(value):
                self.methods[name] = Method(target, name, value)
            elif can_be_sent(value):
                self.attributes[name] = attribute(name, value)

    def described(self):
        return {
            "doc": doc_of(self.target),
            "methods": [method.described for method in self.methods.values()],
            "attributes": list(self.attributes.values()),
        }

    def run(self, op, name, args, kwargs):
        if op == "call":
            return awaited(self.methods[name].call(args, kwargs))
        if op == "get":
            return getattr(self.target, name)
        setattr(self.target, name, args[0])
        return None


def awaited(value):
    """Gives what a coroutine comes to: an async method runs to its end, as any other."""
    if not inspect.iscoroutine(value):
        return value
    import asyncio

    return asyncio.run(value)


def can_be_sent(value):
    kinds = (type(None), bool, int, float, str, bytes, bytearray, list, tuple, dict)
    is_scalar = getattr(value, "shape", None) == () and hasattr(value, "item")  # of numpy
    return is_scalar or isinstance(value, (*kinds, datetime.datetime, datetime.timedelta))


# The agent.


def requests():
    """Gives what the agent asks, until it is gone."""
    while True:
        length = agent.read(4)
        if len(length) < 4:
            return
        data = agent.read(int.from_bytes(length, "big"))
        value, _ = read(data, 0)
        yield value


def answer(kind, data):
    answers.write(kind + struct.pack(">I", len(data)))
    answers.write(data)
    answers.flush()


def answer_error(error):
    name = type(error).__name__
    try:
        message = str(error)
    except Exception as failure:  # an exception's class may be anybody's
        message = f"<{name} whose text raises {type(failure).__name__}>"
    entries = [e for e in traceback.extract_tb(error.__traceback__) if e.filename != OWN]
    lines = "".join(traceback.format_list(entries)).splitlines()
    if isinstance(error, WrongArgumentsError):
        answer_fault("TypeError", message, [], b"b")
    else:
        answer_fault(name, message, lines)


def answer_fault(name, message, lines, kind=b"e"):
    # Text may hold what UTF-8 has no form for.
    texts = [text.encode(errors="backslashreplace").decode() for text in (name, message, *lines)]
    answer(kind, pack([texts[0], texts[1], texts[2:]]))


def build(module_and_class, path, args, kwargs):
    sys.path[:0] = path
    module, _, name = module_and_class.partition(":")
    made = operator.attrgetter(name)(importlib.import_module(module))
    return Published(made(*args, **kwargs))


def serve():
    questions = requests()
    try:
        if sys.version_info < (3, 9):
            raise RuntimeError(f"this is Python {sys.version.split()[0]}; it must be 3.9 or later")
        published = build(*next(questions))
        described = pack(published.described())
    except BaseException as error:
        answer_error(error)
        return
    answer(b"v", described)
    for op, name, args, kwargs in questions:
        try:
            value = published.run(op, name, args, kwargs)
        except BaseException as error:  # sys.exit() in a method too is an answer
            answer_error(error)
            continue
        try:
            data = pack(value)
            if len(data) > MAX_ANSWER:
                raise ValueError(f"it has {len(data)} bytes; at most {MAX_ANSWER} are taken")
        except Exception as error:  # its class may be anybody's
            answer_fault("TypeError", f"{name} returned what cannot be sent: {error}", [])
            continue
        answer(b"v", data)
        # Not kept until the next call: it may be large.
        del value, data, args, kwargs


def forked():
    """Takes a copy of this process away from the agent, which would hear two, and wait for both."""
    null = os.open(os.devnull, os.O_RDWR)
    for end in (agent, answers):
        os.dup2(null, end.fileno())
    os.close(null)


def begin():
    """Makes this a process in which any code may run, whatever it prints or reads."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    del sys.argv[1:]
    # What is where the agent was started is nothing that the configuration names.
    sys.path[:] = [place for place in sys.path if place]
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    # Tells where it was when it crashes: the agent passes that on.
    faulthandler.enable()
    os.register_at_fork(after_in_child=forked)
    try:
        import ctypes

        # Not even a method that hangs outlives the agent. 1 is PR_SET_PDEATHSIG.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    except (ImportError, OSError, AttributeError):
        pass  # it ends when it next looks for a request


begin()
serve()
