"""Writes docs/api.md from the docstrings: python docs/make_api.py [--check]."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import proximity
import py_proximity

PAGE = Path(__file__).with_name("api.md")
HEAD = "# API\n\nMade from the docstrings by `docs/make_api.py`; the tests hold it to them.\n"


def text(thing: Any) -> str:
    """Gives a docstring as Markdown: what a parameter means is an item of a list."""
    return re.sub(r"^(\w+): ", r"- `\1`: ", inspect.getdoc(thing) or "", flags=re.MULTILINE)


def signature(thing: Any) -> str:
    try:
        told = str(inspect.signature(thing))
    except (TypeError, ValueError):
        return ""
    return told.replace("'", "").replace("(self, ", "(").replace("(self)", "()")


def members(kind: type) -> Iterator[tuple[str, Any]]:
    for name, value in vars(kind).items():
        wanted = inspect.isfunction(value) or isinstance(value, (classmethod, property))
        if wanted and not name.startswith("_"):
            yield name, value


def sections() -> Iterator[str]:
    for module in (proximity, py_proximity):
        yield f"## {module.__name__}\n\n{text(module)}\n"
        for name in sorted(module.__all__, key=str.lower):
            thing = getattr(module, name)
            if module is py_proximity and thing is getattr(proximity, name, None):
                continue
            is_class = inspect.isclass(thing)
            shown = thing.__init__ if is_class and "__init__" in vars(thing) else thing
            told = "" if is_class and shown is thing else signature(shown)
            told = told.replace(" -> None", "") if is_class else told
            yield f"### {name}{told}\n\n{text(thing)}\n"
            for member, value in members(thing) if is_class else ():
                function = value.__func__ if isinstance(value, classmethod) else value
                told = "" if isinstance(value, property) else signature(function)
                yield f"#### {name}.{member}{told}\n\n{text(function)}\n"


def main() -> int:
    page = "\n".join([HEAD, *sections()])
    if "--check" in sys.argv:
        return 0 if PAGE.exists() and PAGE.read_text() == page else 1
    PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
