"""The objects that the tests expose."""

from __future__ import annotations

import asyncio
import datetime
import os
import threading
import time
from typing import Any


class WireFoo:
    """The object behind the recorded messages of the original."""

    def add_two(self, x, y):
        """Adds two values together.
            x: first value
            y: second value

        returns: x + y"""
        return x + y

    def div_two(self, x, y):
        return x // y

    def echo(self, v):
        """Returns its argument."""
        return v

    def kw(self, *args, **kwargs):
        """args and kwargs back"""
        return [list(args), kwargs]

    def no_return(self):
        pass

    def when(self):
        return datetime.datetime(2016, 1, 15, 12, 34, 56, 789)

    def howlong(self):
        return datetime.timedelta(seconds=86402.5)

    def _private(self):
        return "secret"


class Foo:
    """The example of the original's README."""

    def sub_two(self, x, y):
        """
        Subtracts y from x.

        x: first value
        y: second value

        returns: x - y
        """
        return x - y

    def div_two(self, x, y):
        return x // y


REGISTERS = ("sys_board_id", "sys_clkcounter", "sys_rev", "sys_scratchpad")


def _fpga_method(name: str, params: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(f"def {name}(self, {params}):\n    '''{name} of the board.'''\n    return None", namespace)
    return namespace[name]


class Fpga:
    """A stand-in for the FpgaClient of the README: its 46 public methods, some with a meaning."""

    def __init__(self) -> None:
        self._words = {name: number for number, name in enumerate(REGISTERS)}

    def listdev(self) -> list[str]:
        """Returns the names of the registers."""
        return list(REGISTERS)

    def read(self, device_name: str, size: int, offset: int = 0) -> bytes:
        """Reads `size` bytes of a register.

        device_name: as named by listdev()
        size: bytes
        offset: bytes from the start
        returns: bytes, most significant byte first

        raises KeyError: there is no such register
        """
        word = self._words[device_name].to_bytes(4, "big")
        return (word * (size // 4 + 2))[offset : offset + size]

    def read_int(self, device_name: str, offset: int = 0) -> int:
        """Reads a register as a signed number."""
        return self._words[device_name]

    def read_uint(self, device_name: str, offset: int = 0) -> int:
        """Reads a register as an unsigned number."""
        return self._words[device_name]

    def write_int(self, device_name: str, integer: int, blindwrite: bool = False) -> None:
        """Writes a register."""
        if device_name not in self._words:
            raise KeyError(device_name)
        self._words[device_name] = integer

    def tap_start(self, tap_dev, device, mac, ip, port):
        """Program a 10GbE device and start the TAP driver."""


_OTHERS = (
    "blindwrite blocking_request bulkread config_10gbe_core est_brd_clk execcmd get_rcs get_snap "
    "handle_inform handle_message handle_reply handle_request inform_log is_connected join listbof "
    "listcmd notify_connected ping print_10gbe_core_details progdev qdr_rst qdr_status read_dram "
    "request run running send_message snapshot_get start status stop tap_stop unhandled_inform "
    "unhandled_reply unhandled_request upload_bof wait_connected write write_dram"
)
for _name in _OTHERS.split():
    setattr(Fpga, _name, _fpga_method(_name, "timeout=None"))


class Bench:
    """An instrument with a bit of everything."""

    #: not data of the instance, and published with the attributes
    model = "b-1"

    def __init__(self) -> None:
        self.gain = 3
        self.calls = 0
        self._secret = 1
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)

    def add(self, x: int, y: int = 2) -> int:
        """Adds.

        x: the one
        y: the other

        raises OverflowError: never, in Python
        """
        return x + y

    def echo(self, v):
        return v

    async def soon(self, value: Any) -> Any:
        await asyncio.sleep(0)
        return value

    def count(self) -> int:
        """Counts its calls."""
        self.calls += 1
        return self.calls

    def read(self, device_name: str, size: int, offset: int = 0) -> bytes:
        return bytes(range(256))[offset : offset + size]

    def blob(self, size: int) -> bytes:
        self.calls += 1
        return os.urandom(size)

    def sleep(self, seconds: float) -> float:
        """Takes its time."""
        time.sleep(seconds)
        return seconds

    def hold(self) -> str:
        """Returns when the test opens the gate."""
        self.entered.release()
        self.gate.wait(30)
        return "held"

    def divide(self, x, y):
        return self._divide(x, y)

    def _divide(self, x, y):
        return x / y

    def own_type_error(self, x):
        return x + "text"

    def fail(self, name: str, message: str):
        raise {
            "KeyError": KeyError,
            "UnicodeDecodeError": lambda text: UnicodeDecodeError("utf-8", b"\xff", 0, 1, text),
            "StopIteration": StopIteration,
            "SystemExit": SystemExit,
            "Own": OwnError,
            "Unprintable": UnprintableError,
        }[name](message)

    def unsendable(self):
        return object()

    def int_keys(self):
        return {1: 2}

    def keywords(self, a, *rest, b=1, **more):
        return [a, list(rest), b, more]

    def wait_for(self, timeout=5, dtype="x"):
        """Has parameters of the names that calls take."""
        return [timeout, dtype]

    def text(self, text: str) -> str:
        return f"{type(text).__name__} {text}"

    def data(self, data: bytes) -> list:
        return [type(data).__name__, len(data)]

    @property
    def level(self) -> float:
        """The level, in volts."""
        return 1.5

    @level.setter
    def level(self, volts: float) -> None:
        if volts > 5:
            raise ValueError(f"level is {volts}; it must be at most 5")
        self.gain = volts

    @property
    def fixed(self) -> int:
        return 7

    @property
    def broken(self) -> int:
        raise RuntimeError("the instrument is off")


class OwnError(Exception):
    pass


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")
