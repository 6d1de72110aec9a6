"""A program whose pages the kernel moves, merges and splits: at each SIGUSR1 one more step, after which all of its memory
must hold what was written to it. Tells READY, and "STEP n what" or FAIL."""

import ctypes
import mmap
import os
import random
import signal
import sys
import time

PAGE, BLOCK = 4096, 2 << 20
MERGEABLE, UNMERGEABLE, PAGEOUT, COLLAPSE, DONTNEED = 12, 13, 21, 25, 4
libc = ctypes.CDLL(None, use_errno=True)
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
first = int(sys.argv[1]) if len(sys.argv) > 1 else 0  # after an execve(2)


def advise(area, offset, size, advice):
    return libc.madvise(area.start + offset, size, advice)


class Area:
    def __init__(self, size, content):
        self.memory = mmap.mmap(-1, size + BLOCK, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.offset = -base % BLOCK
        self.start, self.size, self.expected = base + self.offset, size, bytearray(size)
        self.write(0, content)

    def write(self, at, content):
        self.memory[self.offset + at:self.offset + at + len(content)] = content
        self.expected[at:at + len(content)] = content

    def is_right(self):
        return self.memory[self.offset:self.offset + self.size] == self.expected


chance = random.Random(first + 5)
equal = chance.randbytes(PAGE)
areas = {"merged": Area(BLOCK, equal * (BLOCK // PAGE)), "block": Area(2 * BLOCK, chance.randbytes(2 * BLOCK)),
         "plain": Area(BLOCK, chance.randbytes(BLOCK))}
merged, block, plain = areas.values()


def scatter(area, count):
    for _ in range(count):
        area.write(chance.randrange(area.size - 8), chance.randbytes(8))


def merge():
    """As far as the kernel merges pages here, which whoever runs the tests has turned on."""
    advise(merged, 0, merged.size, MERGEABLE)
    end = time.monotonic() + 2
    while time.monotonic() < end and "ksm_merging_pages 0" in open("/proc/self/ksm_stat").read():
        time.sleep(0.01)
    scatter(plain, 5)


def part():
    scatter(merged, 20)


def collapse():
    advise(block, 0, block.size, COLLAPSE)
    scatter(plain, 5)


def split():
    scatter(block, 10)
    advise(block, BLOCK + 5 * PAGE, PAGE, DONTNEED)
    block.expected[BLOCK + 5 * PAGE:BLOCK + 6 * PAGE] = bytes(PAGE)


def swap():
    for area in areas.values():
        advise(area, 0, area.size, PAGEOUT)
    scatter(plain, 5)


def again():
    os.execv(sys.executable, [sys.executable, sys.argv[0], str(step + 1)])


def tell():
    wrong = [name for name, area in areas.items() if not area.is_right()]
    os.write(1, f"{'FAIL' if wrong else 'STEP'} {step} {wrong}\n".encode())


signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
steps = [merge, part, collapse, split, swap, again, split, swap]
step = first
os.write(1, b"READY\n")
if first:
    tell()
while True:
    signal.sigwait({signal.SIGUSR1})
    steps[step % len(steps)]()
    step += 1
    tell()
