"""The documentation is run, and is true."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import proximity
from conftest import LOOPBACK, free_url
from objects import Foo, Fpga
from proximity import Server

PROJECT = Path(__file__).parent.parent


def test_the_tutorial_is_run_line_by_line() -> None:
    text = (PROJECT / "docs" / "tutorial.md").read_text()
    # Only the address is another here.
    text = text.replace("tcp://127.0.0.1:5555", free_url()).replace("```python\n", "\n")
    parsed = doctest.DocTestParser().get_doctest(text, {}, "tutorial", "tutorial.md", 0)
    assert len(parsed.examples) > 40
    runner = doctest.DocTestRunner()
    shown: list[str] = []
    runner.run(parsed, out=shown.append)
    assert runner.failures == 0, "".join(shown)


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_python_in_the_documentation_is_python(page: str) -> None:
    text = (PROJECT / page).read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        if ">>>" not in block:
            body = "\n".join("    " + line for line in block.splitlines())
            compile(f"async def block():\n{body}", page, "exec")
    names = set(re.findall(r"from proximity import ([\w, ]+)", text))
    for name in {part.strip() for names_ in names for part in names_.split(",")}:
        assert hasattr(proximity, name)


def test_links_in_the_readme_lead_somewhere() -> None:
    text = (PROJECT / "README.md").read_text()
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert links
    assert not [link for link in links if not (PROJECT / link).exists()]


def test_the_reference_is_what_the_docstrings_say() -> None:
    made = subprocess.run(
        [sys.executable, PROJECT / "docs" / "make_api.py", "--check"], check=False
    )
    assert made.returncode == 0, "run python docs/make_api.py"


def test_everything_public_is_documented() -> None:
    missing = []
    for name in proximity.__all__:
        thing = getattr(proximity, name)
        assert thing.__module__.startswith("proximity"), name
        if not inspect.getdoc(thing):
            missing.append(name)
        if inspect.isclass(thing):
            missing += [
                f"{name}.{member}"
                for member, value in vars(thing).items()
                if inspect.isfunction(value) and member[0] != "_" and not inspect.getdoc(value)
            ]
    assert not missing


def test_the_example_runs_from_top_to_bottom(tmp_path: Path) -> None:
    servers = []
    for _ in range(3):
        server = Server(LOOPBACK)
        server.expose("srbs", Fpga())
        server.expose("foo", Foo())
        servers.append(server.start())
    try:
        run = subprocess.run(
            [sys.executable, PROJECT / "examples" / "fleet.py", *(s.url for s in servers)],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            check=False,
        )
    finally:
        for server in servers:
            server.stop()
    assert run.returncode == 0, run.stderr
    assert "0x12345678" in run.stdout
    assert run.stdout.count(" srbs: ") == 3
