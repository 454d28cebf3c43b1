"""The distribution: its syntax, its wheel, and every Python there is."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from conftest import INTERPRETERS, Process

HERE = Path(__file__).parent
PROJECT = HERE.parent
SOURCES = sorted((PROJECT / "src").rglob("*.py"))

# What a new user does first, without this checkout in sight.
FIRST_MINUTE = """
import sys
from proximity import Proxy, Server, broadcast
import py_proximity

class Foo:
    def sub_two(self, x, y):
        "Subtracts y from x."
        return x - y

server = Server("tcp://127.0.0.1:*")
server.expose("foo", Foo())
with server, Proxy(server.url, "foo") as foo:
    assert foo.sub_two(5, 3) == 2
    assert foo.call_async("sub_two", 5, 3).result() == 2
    assert broadcast([foo]).sub_two(1, 1)[0].value == 0
    with foo.batch() as batch:
        call = batch.sub_two(9, 1)
    assert call.result() == 8
    try:
        foo.sub_two(1, "x")
    except TypeError as error:
        assert "in sub_two" in error.remote_traceback
    else:
        raise AssertionError("no TypeError")
print("fine", sys.version_info[:2])
"""


def attempt(*command: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    # Without the path by which the other tests find the checkout.
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        **options,
    )


def run(*command: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    result = attempt(*command, **options)
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    return result


@pytest.mark.parametrize("path", SOURCES, ids=[path.stem for path in SOURCES])
def test_the_syntax_is_of_python_3_9(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 9))


def test_it_needs_pyzmq_and_msgpack_and_nothing_else() -> None:
    script = f"""
import os, sys
sys.path[:0] = {paths()!r}
import proximity, proximity.aio, proximity.many, proximity.server, py_proximity
files = [(name, getattr(module, "__file__", None) or "") for name, module in sys.modules.items()]
print(*sorted({{name.partition(".")[0] for name, file in files if "site-packages" in file}}))
"""
    assert run(sys.executable, "-S", "-c", script).stdout.split() == ["msgpack", "zmq"]


def test_a_first_call_loads_nothing_that_it_does_not_need() -> None:
    """Loading takes most of its time: `cargo xtask bench --only python` says how much."""
    script = f"""
import sys
sys.path[:0] = {paths()!r}
import inspect, msgpack, zmq
needed = set(sys.modules)
from proximity import Proxy
assert Proxy(sys.argv[1], "thing").double(2) == 4
print(*sorted({{name.partition(".")[0] for name in set(sys.modules) - needed}}))
"""
    with Process() as served:
        assert run(sys.executable, "-S", "-c", script, served.url).stdout.split() == ["proximity"]


def paths() -> list[str]:
    return [
        str(PROJECT / "src"),
        sysconfig.get_paths()["purelib"],
        sysconfig.get_paths()["platlib"],
    ]


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: Any) -> Path:
    """Builds the sdist, and the wheel from what is in it."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"
    shutil.copytree(
        PROJECT, source, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__", "build", "dist")
    )
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source)
    return folder


def test_the_wheel_and_the_sdist_hold_what_they_should(distribution: Path) -> None:
    (wheel,) = distribution.glob("proximity_client-*-py3-none-any.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(PROJECT / "src")) for path in SOURCES}
    assert modules | {"proximity/py.typed"} <= names
    assert not [name for name in names if "test" in name]
    metadata = zipfile.ZipFile(wheel).read(
        next(name for name in names if name.endswith("METADATA"))
    )
    for line in (
        b"Name: proximity-client",
        b"Requires-Python: >=3.9",
        b"License-Expression: MIT OR",
    ):
        assert line in metadata
    needs = [line for line in metadata.splitlines() if line.startswith(b"Requires-Dist")]
    assert [need.split()[1].split(b">")[0] for need in needs] == [b"msgpack", b"pyzmq", b"numpy;"]
    (sdist,) = distribution.glob("proximity_client-*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "pyproject.toml",
        "README.md",
        "src/py_proximity.py",
        "src/proximity/py.typed",
    } <= inside


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_it_installs_and_works_where_the_checkout_is_not(
    distribution: Path, tmp_path: Path, kind: str
) -> None:
    (package,) = distribution.glob(kind)
    # Debian's Python has no ensurepip: pip comes from the environment of the tests, and so does
    # what the package needs, so that nothing is fetched.
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = tmp_path / "venv" / "lib" / version / "site-packages"
    (site / "needs.pth").write_text(sysconfig.get_paths()["platlib"])
    install = ("install", "--no-index", "--no-deps", "--no-build-isolation", package)
    run(sys.executable, "-m", "pip", "--python", python, *install)
    shown = run(python, "-c", FIRST_MINUTE, cwd=tmp_path)
    assert shown.stdout.startswith("fine")
    where = run(python, "-c", "import proximity; print(proximity.__file__)", cwd=tmp_path).stdout
    assert where.startswith(str(tmp_path))


@pytest.mark.parametrize("minor", sorted(INTERPRETERS))
def test_it_works_on_every_python_there_is(distribution: Path, tmp_path: Path, minor: int) -> None:
    (wheel,) = distribution.glob("*.whl")
    # As its pip would do it, by the pip that is here: an environment for each takes twice as long.
    there = ("--python-version", f"3.{minor}", "--only-binary=:all:", "--target", tmp_path)
    pip = (sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    run(*pip, *there, wheel)
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{FIRST_MINUTE}"
    shown = run(INTERPRETERS[minor], "-W", "error::DeprecationWarning", "-c", script, cwd=tmp_path)
    assert shown.stdout == f"fine (3, {minor})\n"
