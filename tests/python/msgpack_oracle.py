"""Python's msgpack as the judge of ours: tests/fuzz/tests/oracle.rs tells it what, a line at a time.

    pack DIALECT BYTES VALUE    are BYTES the VALUE, as msgpack reads them? Answers how msgpack writes it.
    read BYTES                  answers what msgpack reads there, or that it refuses them.

A value is told in words: N, T, F, i1, f and its 64 bits, s and UTF-8, b and bytes, a and m and how many follow.
"""

import math
import struct
import sys

import msgpack


class Pairs(list):
    """A map with whatever keys it has, in their order, twice where they come twice."""


def value(words):
    word = next(words)
    kind, rest = word[0], word[1:]
    if kind in "NTF":
        return {"N": None, "T": True, "F": False}[kind]
    if kind == "i":
        return int(rest)
    if kind == "f":
        return math.nan if rest == "nan" else struct.unpack(">d", bytes.fromhex(rest))[0]
    if kind == "s":
        return bytes.fromhex(rest).decode()
    if kind == "b":
        return bytes.fromhex(rest)
    if kind == "a":
        return [value(words) for _ in range(int(rest))]
    return {value(words): value(words) for _ in range(int(rest))}


def tell(it, words):
    if it is None or isinstance(it, bool):
        words.append({None: "N", True: "T", False: "F"}[it])
    elif isinstance(it, int):
        words.append(f"i{it}")
    elif isinstance(it, float):
        words.append("f" + ("nan" if math.isnan(it) else struct.pack(">d", it).hex()))
    elif isinstance(it, str):
        words.append("s" + it.encode().hex())
    elif isinstance(it, bytes):
        words.append("b" + it.hex())
    elif isinstance(it, (dict, Pairs)):
        pairs = it.items() if isinstance(it, dict) else it
        words.append(f"m{len(pairs)}")
        for key, item in pairs:
            tell(key, words)
            tell(item, words)
    elif isinstance(it, list):
        words.append(f"a{len(it)}")
        for item in it:
            tell(item, words)
    else:
        # An extension type, which is not for us to understand.
        words.append("x")
    return words


def pack(dialect, ours, words):
    want = value(iter(words))
    got = msgpack.unpackb(ours, strict_map_key=False)
    if tell(got, []) != words:
        return "differs " + " ".join(tell(got, []))
    return msgpack.packb(want, use_bin_type=dialect != "raw", use_single_float=dialect == "single").hex()


def read(theirs):
    try:
        got = msgpack.unpackb(theirs, raw=True, strict_map_key=False, object_pairs_hook=Pairs)
    except (ValueError, msgpack.UnpackException) as error:
        return f"refused {type(error).__name__}"
    return " ".join(tell(got, []))


for line in sys.stdin:
    what, *words = line.split()
    if what == "pack":
        dialect, ours, *words = words
        print(pack(dialect, bytes.fromhex(ours), words))
    else:
        print(read(bytes.fromhex("".join(words))))
