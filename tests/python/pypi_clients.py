"""Holds a board to what an unmodified client from PyPI expects of it.

usage: pypi_clients.py blocking|callback|aiokatcp IP:PORT roach2|roach1|v5 FILE.fpg

The board has sensors and no gateware when this starts. Prints a line a fact; the first that does not hold ends it.
"""

import asyncio
import random
import socket
import sys
import threading
import time

# Long enough for a busy machine, so that a missing answer is what ends a wait.
PATIENCE = 20.0
UPLOADS = {"roach2", "v5"}


class Refused(Exception):
    """The board said fail or invalid: its words."""


class Katcp:
    """What katcp's two clients have in common. Answers are lists of bytes, without the leading ok."""

    def __init__(self, host, port, personality):
        import katcp

        self.katcp = katcp
        self.told = []
        self.news = threading.Condition()
        keep = self.keep

        class Client(self.base(katcp)):
            def unhandled_inform(self, message):
                keep(message)

        self.client = Client(host, port, timeout=PATIENCE)
        self.client.start(timeout=PATIENCE)
        assert self.client.wait_connected(PATIENCE)
        assert self.client.wait_protocol(PATIENCE)
        flags = self.client.protocol_flags
        fact("the protocol is recognised", flags.major, 5 if personality == "v5" else 4)
        fact("ids are recognised", flags.supports(flags.MESSAGE_IDS), personality == "v5")

    def keep(self, message):
        with self.news:
            self.told.append([message.name.encode(), *message.arguments])
            self.news.notify_all()

    def wait_told(self, words):
        with self.news:
            assert self.news.wait_for(lambda: words in self.told, PATIENCE), (words, self.told)

    def ask(self, name, *args):
        return self.sort(*self.request(self.katcp.Message.request(name, *args)))

    @staticmethod
    def sort(reply, informs):
        if not reply.reply_ok():
            raise Refused(*reply.arguments)
        return reply.arguments[1:], [inform.arguments for inform in informs]

    def close(self):
        self.client.stop(PATIENCE)
        self.client.join(PATIENCE)


class Blocking(Katcp):
    def base(self, katcp):
        return katcp.BlockingClient

    def request(self, message):
        return self.client.blocking_request(message)

    def ask_all(self, requests):
        return [self.ask(*request) for request in requests]


class Callback(Katcp):
    def base(self, katcp):
        return katcp.CallbackClient

    def begin(self, message):
        done, informs, reply = threading.Event(), [], []

        def on_reply(message):
            reply.append(message)
            done.set()

        self.client.callback_request(message, reply_cb=on_reply, inform_cb=informs.append)

        def end():
            assert done.wait(PATIENCE), message
            return reply[0], informs

        return end

    def request(self, message):
        return self.begin(message)()

    def ask_all(self, requests):
        """All at once: with ids in any order, without them in the order of the requests."""
        waiting = [self.begin(self.katcp.Message.request(*request)) for request in requests]
        return [self.sort(*end()) for end in waiting]


class Aiokatcp:
    def __init__(self, host, port, personality):
        import aiokatcp

        self.aiokatcp = aiokatcp
        self.told = []
        self.loop = asyncio.new_event_loop()
        self.client = self.run(self.connect(host, port))
        fact("the protocol is recognised", sorted(self.client.protocol_flags), ["I", "M"])

    async def connect(self, host, port):
        client = self.aiokatcp.Client(host, port)
        client.add_inform_callback("fpga", lambda *args: self.told.append([b"fpga", *args]))
        await client.wait_connected()
        return client

    def run(self, task):
        return self.loop.run_until_complete(asyncio.wait_for(task, PATIENCE))

    async def request(self, name, *args):
        try:
            reply, informs = await self.client.request(name, *args)
        except (self.aiokatcp.FailReply, self.aiokatcp.InvalidReply) as error:
            code = b"fail" if isinstance(error, self.aiokatcp.FailReply) else b"invalid"
            raise Refused(code, str(error).encode()) from None
        return reply, [inform.arguments for inform in informs]

    def ask(self, name, *args):
        return self.run(self.request(name, *args))

    def ask_all(self, requests):
        async def all_at_once():
            return await asyncio.gather(*(self.request(*request) for request in requests))

        return self.run(all_at_once())

    def wait_told(self, words):
        async def until_told():
            while words not in self.told:
                await asyncio.sleep(0.01)

        self.run(until_told())

    def watch(self, wanted):
        """What aiokatcp's own watcher makes of the board's sensors, once it has a value for each."""
        values = {}
        aiokatcp = self.aiokatcp

        class Watcher(aiokatcp.AbstractSensorWatcher):
            def sensor_updated(self, name, value, status, timestamp):
                values[name] = (value, status.name, timestamp)

        watcher = Watcher()

        async def until_seen():
            self.client.add_sensor_watcher(watcher)
            while not wanted <= values.keys():
                await asyncio.sleep(0.01)
            return dict(values)

        return self.run(until_seen())

    def close(self):
        async def close():
            self.client.close()
            await self.client.wait_closed()

        self.run(close())
        self.loop.close()


def fact(what, found, expected=True):
    assert found == expected, f"{what}: found {found!r}, expected {expected!r}"
    print(what, flush=True)


def refusal(client, *request):
    try:
        answer = client.ask(*request)
    except Refused as error:
        return [word for word in error.args if word]
    raise AssertionError(f"{request} was answered {answer}")


def upload(client, data):
    """As casperfpga does: ?progremote, then the file to the port that it named."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client.ask("progremote", str(port))
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as link:
        link.sendall(data)
    client.wait_told([b"fpga", b"ready"])


def program(client, personality, file):
    """Programs the board; returns its registers and their sizes."""
    with open(file, "rb") as opened:
        data = opened.read()
    if personality in UPLOADS:
        upload(client, data)
        fact("an uploaded .fpg runs", client.ask("fpgastatus")[0], [])
        lines = [line.split(b"\t") for line in data.split(b"?quit")[0].split(b"\n")]
        return {line[1]: int(line[3], 0) for line in lines if line[0] == b"?register"}
    _, files = client.ask("listbof")
    fact("files are listed", [b"test.bof"] in files)
    reply, _ = client.ask("progdev", "test.bof")
    fact("progdev tells its process", len(reply) == 1 and reply[0].isdigit())
    fact("status tells the mode", client.ask("status")[0], [b"program"])
    return None


def registers(client, personality, known):
    _, names = client.ask("listdev")
    names = [name for (name,) in names]
    _, sizes = client.ask("listdev", "size")
    fact("listdev lists names in order", names, sorted(names))
    sizes = dict(sizes)
    if known is not None:
        fact("listdev lists what was uploaded", set(names), set(known))
        told = {name: int(size.split(b":")[0]) for name, size in sizes.items()}
        fact("and its sizes", told, known)
    bits = personality != "roach1"
    fact("sizes are as this server writes them", all((b":" in size) == bits for size in sizes.values()))
    return names


def memory(client, personality, bram):
    everything = bytes(range(256))
    client.ask("write", bram, "256", everything)
    fact("every byte value is read back", client.ask("read", bram, "256", "256")[0], [everything])
    # Ending in the bytes that escapes are made of.
    large = random.Random(7).randbytes(65_536 - 8) + b"\\ \t\r\n\x1b\0\\"
    client.ask("write", bram, "0", large)
    fact("64 KiB are read back", client.ask("read", bram, "0", "65536")[0], [large])
    client.ask("write", bram, "0", bytes(65_536))
    fact("64 KiB of zeros are read back", client.ask("read", bram, "0", "65536")[0], [bytes(65_536)])
    client.ask("wordwrite", bram, "0", *[str(1000 + n) for n in range(64)])
    answers = client.ask_all([("wordread", bram, str(n)) for n in range(64)])
    fact("64 requests get their own replies", [int(reply[0], 0) for reply, _ in answers], [*range(1000, 1064)])
    client.ask("wordwrite", "sys_scratchpad", "0", "0xcafe")
    fact("words are in network order", client.ask("read", "sys_scratchpad", "0", "4")[0], [b"\0\0\xca\xfe"])
    if personality == "roach1":
        client.ask("write", bram, "0", large)
        reply, chunks = client.ask("bulkread", bram, "0", "65536")
        fact("bulkread comes in informs", b"".join(chunk for (chunk,) in chunks), large)
        fact("and tells how much", reply, [b"65536"])


def refusals(client, personality):
    expected = [b"fail", b"register"] if personality == "roach1" else [b"fail"]
    fact("an unknown register is refused", refusal(client, "read", "nosuch", "0", "4"), expected)
    fact("an unknown request is invalid", refusal(client, "nosuch"), [b"invalid", b"unknown command"])


def sensors(client, personality):
    reply, informs = client.ask("sensor-list")
    names = {words[0] for words in informs}
    fact("sensors are listed", {b"mode", b"raw.temp.fpga"} <= names)
    fact("and counted", reply, [b"%d" % len(informs)])
    if isinstance(client, Aiokatcp):
        # What is asynchronous to others it takes by its own requests.
        values = client.watch({"raw.temp.fpga", "raw.voltage.1v0"})
        value, status, when = values["raw.temp.fpga"]
        fact("a watched sensor has a value", 50 < float(value) < 66 and status in {"NOMINAL", "WARN"})
        fact("with a time in seconds", abs(when - time.time()) < 60)
        return
    reply, informs = client.ask("sensor-value", "raw.temp.fpga")
    fact("a sensor has one value", reply, [b"1"])
    # A version 5 server of this family leaves the id out of the inform, which makes it anybody's.
    value = informs[0] if informs else next(words[1:] for words in client.told if words[0] == b"sensor-value")
    when, count, name, status, number = value
    unit = 1.0 if personality == "v5" else 1000.0
    fact("with a time in its version's unit", abs(float(when) / unit - time.time()) < 60)
    fact("and of its name", [count, name], [b"1", b"raw.temp.fpga"])
    fact("near to what it should be", 50 < float(number) < 66 and status in {b"nominal", b"warn"})


def main(kind, address, personality, file):
    host, port = address.rsplit(":", 1)
    client = {"blocking": Blocking, "callback": Callback, "aiokatcp": Aiokatcp}[kind](host, int(port), personality)
    try:
        fact("it is alive", client.ask("watchdog")[0], [])
        fact("no gateware runs", refusal(client, "listdev")[0], b"fail")
        known = program(client, personality, file)
        names = registers(client, personality, known)
        memory(client, personality, "snap_ss_bram" if b"snap_ss_bram" in names else "snap_bram")
        refusals(client, personality)
        reply, commands = client.ask("help")
        fact("help counts its lines", reply, [b"%d" % len(commands)])
        if personality in UPLOADS:
            sensors(client, personality)
    finally:
        client.close()


main(*sys.argv[1:])
