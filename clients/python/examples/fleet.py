# %% [markdown]
# # Registers, a snapshot, a fleet
#
# Runs from top to bottom, or cell by cell where `# %%` opens as a notebook. Takes the addresses of
# agents, each with a board called `srbs`: `python fleet.py tcp://colossus:5555 ...`

# %% The boards
import sys

from proximity import Proxy, broadcast

boards = [Proxy(url, "srbs") for url in sys.argv[1:] or ["tcp://127.0.0.1:5555"]]
board = boards[0]
print(board)
print(len(board.listdev()), "registers")

# %% One register
board.write_int("sys_scratchpad", 0x12345678)
print(hex(board.read_uint("sys_scratchpad")))

# %% Many registers at once
with board.batch() as batch:
    reads = {name: batch.read_uint(name) for name in board.listdev() if name.startswith("sys_")}
for name, call in reads.items():
    print(f"{name:20} {call.exception() or call.result():#x}")

# %% A block of memory, as an array of 32-bit words
try:
    words = board.read("sys_scratchpad", 4, dtype=">u4")
    print(words)
except ImportError:
    print("numpy is not here: bytes do as well", board.read("sys_scratchpad", 4))

# %% A snapshot, and a plot of it
registers = set(board.listdev())
blocks = [name[: -len("_ctrl")] for name in sorted(registers) if name.endswith("_ctrl")]
blocks = [name for name in blocks if {f"{name}_status", f"{name}_bram"} <= registers]
for block in blocks[:1]:
    data = board.snapshot_get(block, man_trig=True, man_valid=True)["data"][:2048]
    samples = [byte - 256 if byte > 127 else byte for byte in data]
    try:
        from matplotlib import pyplot
    except ImportError:
        for sample in samples[:32]:
            print(" " * (40 + sample // 4) + "*")
    else:
        pyplot.plot(samples)
        pyplot.title(f"{block} of {board}")
        pyplot.savefig("snapshot.png")
        print("snapshot.png")

# %% The whole fleet: values and errors side by side
for answer in broadcast(boards).read_uint("sys_scratchpad", timeout=2):
    print(answer)
