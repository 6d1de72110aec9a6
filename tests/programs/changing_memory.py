"""A program whose memory changes in rounds, in every way that memory can change. What it must hold is known by a sum of
all of it. usage: changing_memory.py FOLDER PROCESSES. "go.N" in the folder asks for round N, "done.N.I" answers for
process I, "check.N" asks for "sum.N.I": OK or what is wrong."""

import ctypes
import os
import random
import sys
import time
import zlib

PAGE = 4096
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
ANONYMOUS, PRIVATE, SHARED, FIXED = 0x20, 2, 1, 0x10
DONTNEED, FREE, PAGEOUT, GUARD, UNGUARD = 4, 8, 21, 102, 103

folder, processes = sys.argv[1], int(sys.argv[2])


def new(pages, flags=PRIVATE | ANONYMOUS, at=None, fd=-1):
    address = libc.mmap(at, pages * PAGE, 3, flags | (FIXED if at else 0), fd, 0)
    assert address not in (None, 2**64 - 1)
    return address


def fill(address, pages, rng):
    for i in range(pages):
        ctypes.memmove(address + i * PAGE, rng.randbytes(PAGE), PAGE)


class Area:
    def __init__(self, pages, rng, **how):
        self.pages, self.at = pages, new(pages, **how)
        fill(self.at, pages, rng)

    def page(self, i):
        return self.at + i * PAGE


with open(os.path.join(folder, "mapped"), "wb") as file:
    file.write(random.Random(7).randbytes(32 * PAGE))
first = random.Random(1)
big = Area(512, first)
spare = [Area(16, first) for _ in range(4)]
shared = Area(16, first, flags=SHARED | ANONYMOUS)
mapped_fd = os.open(os.path.join(folder, "mapped"), os.O_RDWR)
mapped = Area(32, first, flags=PRIVATE, fd=mapped_fd)


def change(rng):
    for _ in range(8):
        ctypes.memmove(big.page(rng.randrange(512)), rng.randbytes(64), 64)
    given = rng.randrange(500)
    libc.madvise(big.page(given), 3 * PAGE, DONTNEED)
    ctypes.memmove(big.page(given + 1), rng.randbytes(PAGE), PAGE)
    freed = rng.randrange(500)
    libc.madvise(big.page(freed), 2 * PAGE, FREE)
    fill(big.page(freed), 2, rng)
    libc.madvise(big.page(rng.randrange(400)), 64 * PAGE, PAGEOUT)
    hidden = rng.randrange(500)
    libc.mprotect(big.page(hidden), 2 * PAGE, 0)
    libc.mprotect(big.page(hidden), 2 * PAGE, 3)
    ctypes.memmove(big.page(hidden), rng.randbytes(PAGE), PAGE)
    if libc.madvise(big.page(511), PAGE, GUARD) == 0:
        libc.madvise(big.page(511), PAGE, UNGUARD)
    fill(big.page(511), rng.randrange(2), rng)
    # The same addresses, other memory.
    area = spare[rng.randrange(4)]
    libc.munmap(area.at, area.pages * PAGE)
    new(area.pages, at=area.at)
    fill(area.at, rng.randrange(1, area.pages + 1), rng)
    # Pages of one mapping become those of another, over what was there.
    source, target = rng.sample(spare, 2)
    moved = libc.mremap(source.at, 4 * PAGE, 4 * PAGE, 3, target.at)
    assert moved == target.at
    new(4, at=source.at)
    fill(source.at, rng.randrange(4), rng)
    spare.append(Area(16, rng))
    old = spare.pop(rng.randrange(4))
    libc.munmap(old.at, old.pages * PAGE)
    ctypes.memmove(shared.page(rng.randrange(16)), rng.randbytes(PAGE), PAGE)
    ctypes.memmove(mapped.page(rng.randrange(32)), rng.randbytes(PAGE), PAGE)
    libc.madvise(mapped.page(rng.randrange(30)), 2 * PAGE, DONTNEED)
    ctypes.memmove(mapped.page(rng.randrange(32)), rng.randbytes(8), 8)


def total():
    return [zlib.crc32(ctypes.string_at(a.at, a.pages * PAGE)) for a in [big, *spare, shared, mapped]]


def tell(name, text="OK"):
    path = os.path.join(folder, name)
    with open(path + ".new", "w") as out:
        out.write(text)
    os.rename(path + ".new", path)


number = 0
for i in range(1, processes):
    if os.fork() == 0:
        number = i
        break
rng = random.Random(100 + number)
fill(big.page(0), 100 * number, rng)  # of its own
if number:
    shared = Area(16, rng)
known, step = total(), 0
tell(f"ready.{number}")
while True:
    if os.path.exists(os.path.join(folder, f"go.{step}")):
        change(rng)
        known = total()
        tell(f"done.{step}.{number}")
        step += 1
    for name in os.listdir(folder):
        if name.startswith("check.") and not os.path.exists(os.path.join(folder, f"sum.{name[6:]}.{number}")):
            now = total()
            tell(f"sum.{name[6:]}.{number}", "OK" if now == known else f"{known} became {now}")
    time.sleep(0.002)
