"""Calls every method of an FPGA board through an agent, with nothing but pyzmq and msgpack.

usage: fpga_methods.py AGENT BOARD roach2|roach1|v5

A function here is the check of the method of its name: that a call has the right result, and that the call most likely
to fail fails with the right class. BOARD is the mock's own address, where it is seen what has become of it. The agent
calls it `srbs`; it has the mock's design `adc`, sensors, and a gateware_dir with synthetic.fpg. A line is printed for
each method.
"""

import hashlib
import socket
import sys
import time

import msgpack
import zmq

CHECKS = {}
FPG = "synthetic.fpg"
FPG_SHA256 = "a78715d74bdf4c5439578c26d09fe894bc723a7c500f8ee9939554a71a2ceb0c"
MAC = 0x0200_0000_0005
ARP = [0x0200_0000_0000 + station for station in range(256)]
OK = b"ok"


class Raised(Exception):
    """What a call ended with instead of a result."""


class Srbs:
    """The board as a caller has it."""

    def __init__(self, agent, board, personality):
        self.socket = zmq.Context().socket(zmq.REQ)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, 30_000)
        self.socket.connect(agent)
        self.address = board.rsplit(":", 1)
        self.personality = personality
        self.old = personality == "roach1"

    def __getattr__(self, name):
        def call(*args, **kwargs):
            request = {"name": "srbs", "proc": name, "args": args, "kwargs": kwargs}
            self.socket.send(msgpack.packb(request))
            reply = msgpack.unpackb(self.socket.recv())
            if isinstance(reply, dict) and "EXCEPTION" in reply:
                raise Raised(*reply["EXCEPTION"][:2])
            return reply

        return call

    def word(self, register, offset=0):
        """What the board itself says is in a register."""
        host, port = self.address
        with socket.create_connection((host, int(port)), 30) as link, link.makefile("rb") as lines:
            link.sendall(b"?wordread %s %d\n" % (register.encode(), offset))
            for line in lines:
                if line.startswith(b"!"):
                    return int(line.split()[2], 0)
        raise AssertionError(f"no word {offset} of {register}")


def check(function):
    CHECKS[function.__name__] = function
    return function


def same(found, expected):
    assert found == expected, f"found {found!r}, expected {expected!r}"


def raises(kind, call, *args, told="", **kwargs):
    try:
        result = call(*args, **kwargs)
    except Raised as error:
        same(error.args[0], kind)
        assert told in error.args[1], error.args[1]
    else:
        raise AssertionError(f"{result!r} instead of a {kind}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def gateware(data=b"?quit\n"):
    return b"#!/bin/kcpfpg\n" + data


# Registers.


@check
def listdev(srbs):
    names = srbs.listdev()
    same(names, sorted(names))
    same(len(names), 31)
    sizes = dict(srbs.listdev(True))
    same(sizes["big_bram"], 1 << 20)
    same(srbs.listdev(getsize=True, getaddress=True)[names.index("led")], ["led", 4, 0x38])
    raises("TypeError", srbs.listdev, "size")


@check
def write_int(srbs):
    same(srbs.write_int("led", 0xCAFE), None)
    same(srbs.word("led"), 0xCAFE)
    srbs.write_int("led", -2)
    same(srbs.word("led"), 0xFFFF_FFFE)
    srbs.write_int("big_bram", 7, offset=3)
    same(srbs.word("big_bram", 3), 7)
    srbs.write_int("pulse", 1, blindwrite=True)
    raises("ValueError", srbs.write_int, "led", 1 << 32, told="-2147483648 to 4294967295")
    raises("RuntimeError", srbs.write_int, "pulse", 1, told="?read pulse 0 4")


@check
def read_int(srbs):
    srbs.write_int("led", -5)
    same(srbs.read_int("led"), -5)
    raises("KeyError", srbs.read_int, "lde", told="no register 'lde'")


@check
def read_uint(srbs):
    srbs.write_int("led", -5)
    same(srbs.read_uint("led"), 2**32 - 5)
    same(srbs.read_uint("sys_board_id"), 0xB00B)
    raises("ValueError", srbs.read_uint, "led", 1, told="reach past its end")


@check
def write(srbs):
    same(srbs.write("big_bram", b"abcdefgh", 4), None)
    same(srbs.word("big_bram", 1), int.from_bytes(b"abcd", "big"))
    srbs.write("big_bram", "text", 0)
    same(srbs.word("big_bram"), int.from_bytes(b"text", "big"))
    raises("ValueError", srbs.write, "big_bram", b"abc", told="multiple of 4")
    raises("RuntimeError", srbs.write, "sys_rev", b"abcd", told="refused ?write sys_rev")


@check
def blindwrite(srbs):
    same(srbs.blindwrite("big_bram", b"ABCD", 8), None)
    same(srbs.word("big_bram", 2), int.from_bytes(b"ABCD", "big"))
    raises("ValueError", srbs.blindwrite, "big_bram", b"ABCD", 2, told="multiple of 4")


@check
def read(srbs):
    data = bytes(range(256)) * 1024
    srbs.write("big_bram", data)
    same(srbs.read("big_bram", len(data)), data)
    same(srbs.read("big_bram", 9, 3), data[3:12])
    raises("KeyError", srbs.read, "nothing", 4, told="no register 'nothing'")
    raises("ValueError", srbs.read, "big_bram", 8, (1 << 20) - 4, told="reach past its end")


@check
def bulkread(srbs):
    data = bytes(range(255, -1, -1)) * 300
    srbs.write("big_bram", data)
    same(srbs.bulkread("big_bram", len(data)), data)
    same(srbs.bulkread("big_bram", 6, 5), data[5:11])
    raises("KeyError", srbs.bulkread, "nothing", 4, told="no register 'nothing'")


@check
def wordwrite(srbs):
    same(srbs.wordwrite("big_bram", [1, -1, 3], 2), None)
    same([srbs.word("big_bram", n) for n in (2, 3, 4)], [1, 2**32 - 1, 3])
    raises("ValueError", srbs.wordwrite, "led", [1, 2], told="reach past its end")


@check
def wordread(srbs):
    srbs.wordwrite("big_bram", [1, 2, 3])
    same(srbs.wordread("big_bram", 2, 1), [2, 3])
    raises("ValueError", srbs.wordread, "led", 2, told="reach past its end")


@check
def write_many(srbs):
    same(srbs.write_many({"led": 1, "acc_len": 2}), None)
    srbs.write_many([["big_bram", 3, 1], ["pulse", 1]], blindwrite=True)
    same([srbs.word("led"), srbs.word("acc_len"), srbs.word("big_bram", 1)], [1, 2, 3])
    raises("KeyError", srbs.write_many, [["led", 9], ["nothing", 1]], told="no register 'nothing'")
    same(srbs.word("led"), 1)


@check
def read_many(srbs):
    srbs.write_many({"led": 5, "acc_len": 6})
    same(srbs.read_many(["led", "acc_len", ["sys_block", 0]]), [5, 6, 0xB00B])
    raises("ValueError", srbs.read_many, ["led", ["acc_len", 1]], told="reach past its end")


# Memories.


@check
def qdr_status(srbs):
    same(srbs.qdr_status(0), {"phyrdy": True, "calfail": False})
    raises("KeyError", srbs.qdr_status, 1, told="no register 'qdr1_ctrl'")


@check
def qdr_rst(srbs):
    same(srbs.qdr_rst(0), None)
    raises("KeyError", srbs.qdr_rst, 1, told="no register 'qdr1_ctrl'")


@check
def write_dram(srbs):
    same(srbs.write_dram(b"abcdefghijkl", (64 << 20) - 8), None)
    same([srbs.word("dram_controller"), srbs.word("dram_memory")], [1, int.from_bytes(b"ijkl", "big")])
    raises("ValueError", srbs.write_dram, b"abc", told="multiple of 4")


@check
def read_dram(srbs):
    srbs.write_dram(b"mnopqrstuvwx", (64 << 20) - 8)
    same(srbs.read_dram(12, (64 << 20) - 8), b"mnopqrstuvwx")
    raises("ValueError", srbs.read_dram, 0)


# Snapshots.


@check
def snapshot_get(srbs):
    snap = srbs.snapshot_get("adc_snap", man_trig=True, man_valid=True)
    same([snap["length"], snap["offset"], len(snap["data"])], [65536, 0, 65536])
    assert len(set(snap["data"])) > 16, "a tone in noise has many values"
    snap = srbs.snapshot_get("adc_snap", man_valid=True, offset=16, get_extra_val=True)
    same([snap["offset"], snap["val"]], [16, srbs.word("adc_snap_val")])
    raises("KeyError", srbs.snapshot_get, "nothing", told="no register 'nothing_ctrl'")
    # What waits for a trigger that comes after 5 ms is not done at once.
    raises("RuntimeError", srbs.snapshot_get, "adc_snap", wait_period=0, told="not to its end")


@check
def snapshot_arm(srbs):
    same(srbs.snapshot_arm("adc_snap", man_trig=True, man_valid=True), None)
    same(srbs.word("adc_snap_ctrl"), 7)
    same(srbs.snapshot_get("adc_snap", arm=False)["length"], 65536)
    raises("KeyError", srbs.snapshot_arm, "nothing", told="no register 'nothing_ctrl'")


@check
def get_snap(srbs):
    snap = srbs.get_snap("old_snap", ["bram"], man_trig=True, man_valid=True)
    same([snap["length"], snap["offset"], len(snap["bram"])], [2048, 0, 8192])
    raises("KeyError", srbs.get_snap, "old_snap", ["nothing"], True, True, told="'old_snap_nothing'")


# The design.


@check
def get_rcs(srbs):
    rcs = srbs.get_rcs()
    same([rcs["user"], rcs["compile_timestamp"]], [42, 1577836800])
    same([rcs["app_rcs_type"], rcs["app_dirty"], rcs["app_rev"]], ["git", False, 0x0123_4567])
    raises("KeyError", srbs.get_rcs, "nothing", told="no register 'nothing_user'")


@check
def get_system_information(srbs):
    same(srbs.get_system_information()["registers"]["led"]["address"], 0x38)
    same(srbs.get_system_information(FPG)["devices"]["snap_ss"]["data_width"], "64")
    raises("FileNotFoundError", srbs.get_system_information, "no_such.fpg")


@check
def read_fields(srbs):
    srbs.write_int("led", 9)
    same(srbs.read_fields("led"), {"reg": 9})
    raises("KeyError", srbs.read_fields, "nothing", told="no register 'nothing'")


@check
def write_fields(srbs):
    same(srbs.write_fields("led", {"reg": 10}), None)
    same(srbs.word("led"), 10)
    raises("KeyError", srbs.write_fields, "led", {"gain": 1}, told="no field 'gain'")


@check
def est_brd_clk(srbs):
    began = time.monotonic()
    clock = srbs.est_brd_clk()
    assert time.monotonic() - began < 5
    # The mock counts by the same kind of clock as it is measured with.
    assert 99 < clock < 101, clock
    raises("TypeError", srbs.est_brd_clk, 2)


# The board.


@check
def ping(srbs):
    same(srbs.ping(), True)
    raises("TypeError", srbs.ping, 1)


@check
def status(srbs):
    same(srbs.status(), "program" if srbs.old else "ready")
    srbs.deprogram()
    raises("RuntimeError", srbs.status)
    srbs.progdev("adc.bof")


@check
def versions(srbs):
    told = srbs.versions()
    part = "katcp-library" if srbs.personality == "v5" else "version"
    assert told[part].startswith("75dde9d"), told
    raises("TypeError", srbs.versions, "kernel")


@check
def sensor_list(srbs):
    if srbs.old:
        raises("RuntimeError", srbs.sensor_list, told="unknown command")
        return
    sensors = {sensor["name"]: sensor for sensor in srbs.sensor_list()}
    same(sensors["raw.fan.fpga"]["units"], "rpm")
    raises("TypeError", srbs.sensor_list, "raw.fan.fpga")


@check
def sensor_value(srbs):
    if not srbs.old:
        reading = srbs.sensor_value("raw.temp.fpga")
        assert 50 < float(reading["value"]) < 66, reading
        assert abs(reading["timestamp"] - time.time()) < 60, reading
    raises("RuntimeError", srbs.sensor_value, "nothing", told="?sensor-value nothing")


@check
def listbof(srbs):
    same(srbs.listbof()[:2], ["test.bof", "adc.bof"])
    raises("TypeError", srbs.listbof, "test.bof")


@check
def progdev(srbs):
    same(srbs.progdev("test.bof"), "ok")
    assert "snap_bram" in srbs.listdev()
    raises("KeyError", srbs.progdev, "tset.bof", told="no gateware file 'tset.bof'")
    # The one that runs was not touched.
    same(srbs.read_uint("snap_bram"), 0)
    same(srbs.progdev("adc.bof"), "ok")


@check
def deprogram(srbs):
    same(srbs.deprogram(), None)
    raises("RuntimeError", srbs.read_uint, "led", told="no gateware runs")
    srbs.progdev("adc.bof")
    raises("TypeError", srbs.deprogram, "adc.bof")


@check
def upload_bof(srbs):
    same(srbs.upload_bof(FPG, free_port(), sha256=FPG_SHA256), None)
    same(srbs.upload_bof(gateware(), free_port(), "mine.fpg"), None)
    assert {FPG, "mine.fpg"} <= set(srbs.listbof())
    raises("FileNotFoundError", srbs.upload_bof, "no_such.fpg", free_port())
    raises("ValueError", srbs.upload_bof, f"../{FPG}", free_port(), told="bare name")
    raises("ValueError", srbs.upload_bof, FPG, free_port(), sha256="00", told="SHA-256")


@check
def upload_chunk(srbs):
    file = gateware()
    same(srbs.upload_chunk(file[:10]), 10)
    raises("ValueError", srbs.upload_chunk, file[10:], 11, told="10 bytes came before it")
    same(srbs.upload_chunk(file[10:], 10), len(file))
    srbs.upload_bof(None, free_port(), "chunks.fpg", hashlib.sha256(file).hexdigest())
    assert "chunks.fpg" in srbs.listbof()


@check
def delbof(srbs):
    srbs.upload_bof(gateware(), free_port(), "old.fpg")
    if srbs.old:
        raises("RuntimeError", srbs.delbof, "old.fpg", told="unknown command")
        return
    same(srbs.delbof("old.fpg"), None)
    raises("KeyError", srbs.delbof, "old.fpg", told="no gateware file 'old.fpg'")


@check
def upload_to_ram_and_program(srbs):
    if srbs.old:
        raises("RuntimeError", srbs.upload_to_ram_and_program, FPG, told="unknown command")
        return
    same(srbs.upload_to_ram_and_program(FPG, free_port(), sha256=FPG_SHA256), None)
    assert "snap_ss_bram" in srbs.listdev()
    srbs.write_fields("acc_len", {"enable": True, "len": 5})
    same(srbs.word("acc_len"), 0x8000_0005)
    raises("ValueError", srbs.upload_to_ram_and_program, b"\x13BOFnot", told="cannot be read")
    srbs.progdev("adc.bof")


# 10GbE cores.


@check
def config_10gbe_core(srbs):
    same(srbs.config_10gbe_core("ten_gbe0", MAC, "10.0.0.5", 60000, ARP), None)
    same([srbs.word("ten_gbe0", 1), srbs.word("ten_gbe0", 4)], [MAC & 0xFFFF_FFFF, 0x0A00_0005])
    raises("ValueError", srbs.config_10gbe_core, "ten_gbe0", 1, 2, 3, [4], told="it must be 256")


@check
def get_10gbe_core_details(srbs):
    srbs.config_10gbe_core("ten_gbe1", MAC, 0x0A00_0006, 60001, ARP)
    core = srbs.get_10gbe_core_details("ten_gbe1")
    same([core["mac"], core["ip"], core["fabric_port"]], ["02:00:00:00:00:05", "10.0.0.6", 60001])
    same(core["arp"][255], "02:00:00:00:00:FF")
    raises("KeyError", srbs.get_10gbe_core_details, "nothing", told="no register 'nothing'")


@check
def print_10gbe_core_details(srbs):
    text = srbs.print_10gbe_core_details("ten_gbe0", arp=True)
    assert "10.0.0.5" in text and "02:00:00:00:00:FF" in text, text
    raises("KeyError", srbs.print_10gbe_core_details, "nothing", told="no register 'nothing'")


@check
def tap_start(srbs):
    same(srbs.tap_start("tap0", "ten_gbe0", MAC, "10.0.0.1", 60000), None)
    raises("ValueError", srbs.tap_start, "ninechars", "ten_gbe0", 1, 2, 3, told="1 to 8 letters")
    raises("KeyError", srbs.tap_start, "tap1", "nothing", 1, 2, 3, told="no register 'nothing'")


def tap_change(srbs, method, *args):
    """What roach1 knows nothing of, and the others refuse for a tap that is not there."""
    if srbs.old:
        raises("RuntimeError", method, "tap0", *args, told="unknown command")
        return
    same(method("tap0", *args), None)
    raises("RuntimeError", method, "tap9", *args, told="refused")


@check
def tap_info(srbs):
    if srbs.old:
        raises("RuntimeError", srbs.tap_info, told="unknown command")
        return
    same(srbs.tap_info()["tap0"]["ip"], "10.0.0.1")
    raises("RuntimeError", srbs.tap_info, "tap9", told="refused")


@check
def tap_multicast_add_send(srbs):
    tap_change(srbs, srbs.tap_multicast_add_send, "239.2.0.64")


@check
def tap_multicast_add_recv(srbs):
    tap_change(srbs, srbs.tap_multicast_add_recv, "239.2.0.65")


@check
def tap_multicast_remove(srbs):
    tap_change(srbs, srbs.tap_multicast_remove, "239.2.0.64")


@check
def tap_arp_reload(srbs):
    tap_change(srbs, srbs.tap_arp_reload)


@check
def tap_stop(srbs):
    same(srbs.tap_stop("tap0"), None)
    raises("RuntimeError", srbs.tap_stop, "tap0", told="refused ?tap-stop tap0")


# Messages.


@check
def blocking_request(srbs):
    srbs.write_int("led", 3)
    reply, informs = srbs.blocking_request("?wordread led")
    same([reply[0], reply[1], reply[3], informs], ["!", "wordread", [OK, b"0x3"], []])
    reply, informs = srbs.blocking_request(["listbof", [], 3])
    same([len(informs), reply[3]], [int(reply[3][1]), [OK, b"%d" % len(informs)]])
    raises("ValueError", srbs.blocking_request, "#log x", told="must be a request")


@check
def request(srbs):
    same(srbs.request("?watchdog"), None)
    raises("ValueError", srbs.request, "?a\n?b", told="one KATCP message")


@check
def send_message(srbs):
    same(srbs.send_message("?wordwrite led 0 77"), None)
    # The board takes requests in their order.
    same(srbs.read_uint("led"), 77)
    raises("ValueError", srbs.send_message, "led", told="one KATCP message")


@check
def handle_message(srbs):
    same(srbs.handle_message("#strange one"), None)
    raises("ValueError", srbs.handle_message, "nonsense")


@check
def handle_inform(srbs):
    same(srbs.handle_inform("#strange two"), None)
    raises("ValueError", srbs.handle_inform, "!watchdog ok", told="must be an inform")


@check
def handle_reply(srbs):
    same(srbs.handle_reply("!strange ok"), None)
    raises("ValueError", srbs.handle_reply, "?watchdog", told="must be a reply")


@check
def handle_request(srbs):
    same(srbs.handle_request("?strange"), None)
    raises("ValueError", srbs.handle_request, "!watchdog ok", told="must be a request")


@check
def unhandled_inform(srbs):
    same([message[3] for message in srbs.unhandled_inform()][-2:], [[b"one"], [b"two"]])
    same(srbs.unhandled_inform("#a"), None)
    raises("TypeError", srbs.unhandled_inform, "#a", "#b")


@check
def unhandled_reply(srbs):
    same(srbs.unhandled_reply()[-1][1], "strange")
    raises("TypeError", srbs.unhandled_reply, "!a", "!b")


@check
def unhandled_request(srbs):
    same(srbs.unhandled_request()[-1][1], "strange")
    raises("TypeError", srbs.unhandled_request, "?a", "?b")


@check
def inform_log(srbs):
    same(srbs.inform_log("#log info 1 test a\\_line"), None)
    raises("ValueError", srbs.inform_log, "#log warn", told="four arguments")


@check
def notify_connected(srbs):
    same(srbs.notify_connected(True), None)
    raises("TypeError", srbs.notify_connected)


@check
def listcmd(srbs):
    assert {"read", "write", "watchdog"} <= set(srbs.listcmd())
    raises("TypeError", srbs.listcmd, "read")


@check
def execcmd(srbs):
    raises("NotImplementedError", srbs.execcmd, "ls")
    raises("TypeError", srbs.execcmd)


# The link.


@check
def run(srbs):
    raises("RuntimeError", srbs.run, told="there is none here")


@check
def stop(srbs):
    same(srbs.stop(), None)
    raises("ConnectionError", srbs.ping, told="was stopped")
    raises("RuntimeError", srbs.stop, told="stopped already")


@check
def running(srbs):
    same(srbs.running(), False)
    raises("TypeError", srbs.running, 1)


@check
def is_connected(srbs):
    same(srbs.is_connected(), False)
    raises("TypeError", srbs.is_connected, 1)


@check
def join(srbs):
    same(srbs.join(), None)
    raises("TypeError", srbs.join, "soon")


@check
def wait_connected(srbs):
    same(srbs.wait_connected(0.05), False)
    raises("TypeError", srbs.wait_connected, "soon")


@check
def start(srbs):
    same(srbs.start(), None)
    same(srbs.wait_connected(5), True)
    same([srbs.is_connected(), srbs.running(), srbs.ping()], [True, True, True])
    raises("RuntimeError", srbs.start, told="is not stopped")


def main(agent, board, personality):
    srbs = Srbs(agent, board, personality)
    listed = {name for name, *_ in srbs.list_methods()}
    same(set(CHECKS), listed)
    for name, function in CHECKS.items():
        try:
            function(srbs)
        except Exception as error:
            raise AssertionError(f"{name}(), {personality}: {error!r}") from error
        print(name, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
