"""Classes as anybody may have written them: they know nothing of Proximity."""

import asyncio
import datetime
import os
import signal
import subprocess
import sys
import threading
import time


class Lab:
    """A laboratory."""

    LIMIT = 3

    def __init__(self, port="/dev/null", channels: int = 1):
        self.port = port
        self.channels = channels
        self.lock = threading.Lock()
        self._secret = 1
        self._level = 1.5

    def echo(self, value):
        """Gives a value back.

        value: anything
        """
        return value

    def add(self, a: int, b: int = 2) -> int:
        """Adds.

        a: one
        b: another

        raises TypeError: they cannot be added
        """
        return a + b

    def everything(self, a, *args, flag=False, **kwargs):
        return [a, args, flag, kwargs]

    def kind(self, value):
        return type(value).__name__

    def length(self, data: bytes):
        return [type(data).__name__, len(data)]

    def zeros(self, count):
        return bytes(count)

    def when(self):
        return datetime.datetime(2014, 7, 2, 12, 0, 0, 1), datetime.timedelta(seconds=1.5)

    def boom(self, text="boom"):
        raise ValueError(text)

    def strange(self):
        raise Strange("strange")

    def unspeakable(self):
        raise Unspeakable()

    def quit(self):
        sys.exit(4)

    def leave(self, status=3):
        os._exit(status)

    def segfault(self):
        os.kill(os.getpid(), signal.SIGSEGV)

    def pid(self):
        return os.getpid()

    def fork(self):
        """Leaves a copy of the process that goes on as if it were the first."""
        return os.fork()

    def leave_copy(self):
        """Leaves a copy of the process that lives for long."""
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        return pid

    async def soon(self, value):
        await asyncio.sleep(0)
        return value

    def zoned(self):
        zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
        return datetime.datetime(2024, 1, 1, tzinfo=zone)

    def sleep(self, seconds):
        time.sleep(seconds)
        return seconds

    def stubborn(self, mark=os.devnull):
        """Does not end, and does not want to be ended; leaves a file to tell that it is on."""
        open(mark, "w").close()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(60)

    def start(self):
        """Starts a process that runs for long, and gives its number."""
        self.started = subprocess.Popen(["sleep", "1000"])
        return self.started.pid

    def say(self, text):
        print(text)

    def chatter(self):
        """Prints in every way there is, and reads what there is to read."""
        print("x" * 100_000)
        sys.stdout.write("no line end")
        sys.stderr.write("an error\n")
        os.write(1, b"v\0\0\0\1\xc0\n")
        subprocess.run(["sh", "-c", "echo from a child; cat"], check=True)
        return [sys.stdin.read(), sys.argv[1:]]

    def odd(self, what):
        deep = []
        for _ in range(40):
            deep = [deep]
        return {
            "object": object(),
            "large": 1 << 64,
            "huge": 1 << 100_000,
            "key": {1: 2},
            "deep": deep,
            "text": "\ud800",
            "lock": self.lock,
        }[what]

    @property
    def level(self) -> float:
        """The level."""
        return self._level

    @level.setter
    def level(self, value):
        if value > 31:
            raise ValueError(f"level is {value}; it must be 0 to 31")
        self._level = value

    @property
    def fixed(self):
        return 1

    def _hidden(self):
        return 1


class Strange(ValueError):
    pass


class Unspeakable(Exception):
    def __str__(self):
        raise KeyError("no text")


class Marked:
    _proximity_effects = {"read": "read", "program": "admin", "odd": "no such effect"}

    def read(self):
        return 1

    def write(self):
        return 2

    def program(self):
        return 3

    def odd(self):
        return 4


class Broken:
    def __init__(self):
        raise OSError(5, "no such device")


class Slow:
    def __init__(self):
        time.sleep(60)


class Doomed:
    def __init__(self):
        os._exit(7)
