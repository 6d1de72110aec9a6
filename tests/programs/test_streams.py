#!/usr/bin/env python3
"""Memory in streams: `dump --stream N --compress none|lz4`, and restores by other numbers of threads.

The program has random bytes, zeros, one page many times, memory that it may not read itself, and shared memory. It
writes a hash of all of them again and again: every line is the same, whoever has written it."""
# ctest: TIMEOUT 240
# ctest: CASES lz4 none many equal damage
import json
import os
import re
import signal
import subprocess
import sys
import time

import harness
from harness import CASE, ENGINE, expect, read, wait_until

VICTIM = r"""
import ctypes, hashlib, mmap, os, random, sys, time
out, mib = sys.argv[1], int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
def memory(size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS):
    return mmap.mmap(-1, size, flags)
parts = [memory(mib << 20) for _ in range(3)]
parts[0].write(random.Random(7).randbytes(mib << 20))
parts[1].write(bytes(mib << 20))
parts[2].write((b"the same page " * 400)[:4096] * (mib << 8))
parts.append(memory(1 << 20, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS))
parts[3].write(b"shared" * 1000)
hidden = memory(1 << 20)
hidden.write(b"hidden" * 20000)
address = ctypes.addressof(ctypes.c_char.from_buffer(hidden))
def protect(how):
    if libc.mprotect(ctypes.c_void_p(address), 1 << 20, how) != 0:
        sys.exit(3)
while True:
    sum = hashlib.blake2b()
    for part in parts:
        for at in range(0, len(part), 1 << 16):
            sum.update(part[at:at + (1 << 16)])
    protect(1)
    sum.update(hidden[:])
    protect(0)
    with open(out, "a") as file:
        file.write(sum.hexdigest() + "\n")
    time.sleep(0.2)
"""


class Victim:
    def __init__(self, work, mib):
        self.out = os.path.join(work, "out")
        self.images = os.path.join(work, "images")
        null = open("/dev/null", "r+b")
        self.child = subprocess.Popen([sys.executable, "-c", VICTIM, self.out, str(mib)], start_new_session=True,
                                      stdin=null, stdout=null, stderr=null, cwd="/")
        self.pid = self.child.pid
        self.collected = False
        self.goes_on(1)

    def lines(self):
        return read(self.out).split("\n")[:-1]

    def goes_on(self, more=2):
        before = len(self.lines())
        wait_until(lambda: len(self.lines()) >= before + more, 60, "a hash from the program")
        expect(len(set(self.lines())) == 1, f"the memory has changed: {set(self.lines())}")

    def dump(self, name, *options):
        folder = os.path.join(self.images, name)
        os.makedirs(self.images, exist_ok=True)
        call("dump", "-t", str(self.pid), "-D", folder, "--no-sync", *options)
        return folder

    def restore(self, folder, *options):
        self.collect()
        call("restore", "-d", "-D", folder, *options)
        self.collected = False
        self.goes_on()

    def collect(self):
        """The end of a dump has killed it: its number is to be free."""
        if self.child:
            self.child.wait(timeout=30)
        elif not self.collected:
            os.waitpid(self.pid, 0)  # restored with -d it has become ours
        self.child, self.collected = None, True

    def end(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def call(*arguments, status=0):
    run = subprocess.run([ENGINE, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100)
    expect(run.returncode == status, f"{' '.join(arguments)}: {run.returncode}: {run.stdout}{run.stderr}")
    return run.stdout + run.stderr


def streams_of(folder):
    return sorted((n for n in os.listdir(folder) if re.fullmatch(r"img-\d+\.(lz4|img)", n)),
                  key=lambda n: int(re.sub(r"\D", "", n.split(".")[0])))


def pages_differ(a, b):
    """Pages of memory that differ; a stack may, as the program runs between two dumps."""
    found = subprocess.run([ENGINE, "diff", a, b], capture_output=True, text=True, timeout=100)
    expect(found.returncode in (0, 4), found.stderr)
    return re.findall(r".*pages? differs?.*", found.stdout)


def stop_and_compare(victim, *options):
    """Two dumps of the program standing still: raw and in streams."""
    os.kill(victim.pid, signal.SIGSTOP)
    raw = victim.dump("raw", "-R")
    streamed = victim.dump("streamed", "-R", *options)
    os.kill(victim.pid, signal.SIGCONT)
    expect(pages_differ(raw, streamed) == [], f"raw and streamed differ: {pages_differ(raw, streamed)}")
    return raw, streamed


def round_trip(victim, *options):
    _, streamed = stop_and_compare(victim, *options)
    call("verify", streamed)
    folder = victim.dump("killed", *options)
    call("verify", folder)
    for threads in ((), ("--stream", "1"), ("--stream", "7")):
        victim.restore(folder, *threads)
        folder = victim.dump("again", *options)
    victim.restore(folder)
    return streamed


def case_lz4(victim):
    folder = round_trip(victim, "--stream", "3", "--compress", "lz4")
    expect(streams_of(folder) == ["img-0.lz4", "img-1.lz4", "img-2.lz4"], os.listdir(folder))


def case_none(victim):
    folder = round_trip(victim, "--stream", "2", "--compress", "none")
    expect(streams_of(folder) == ["img-0.img", "img-1.img"], os.listdir(folder))


def case_many(victim):
    """More files than there are chunks: some are short, none is missing."""
    folder = round_trip(victim, "--stream", "64")
    expect(len(streams_of(folder)) == 64, os.listdir(folder))
    for bad in ("0", "65", "-1", "x"):
        call("dump", "-t", str(victim.pid), "-D", folder, "--stream", bad, status=2)
    call("dump", "-t", str(victim.pid), "-D", folder, "--stream", "2", "--compress", "gzip", status=2)
    victim.goes_on()


def case_equal(victim):
    """Random bytes are what takes room; the files are equally long but for a chunk; the engine stays small."""
    folder = victim.dump("streamed", "-R", "--stream", "4", "--compress", "lz4")
    sizes = [os.path.getsize(os.path.join(folder, name)) for name in streams_of(folder)]
    expect(max(sizes) - min(sizes) <= 1 << 20, f"the streams have {sizes} bytes")
    expect(sum(sizes) < (MIB + 12) << 20, f"{sum(sizes)} bytes for {MIB} MiB that cannot be compressed")
    shown = json.loads(call("show", folder, "--json"))["processes"][0]
    expect(shown["content_bytes"] > 3 * MIB << 20, f"{shown['content_bytes']} bytes of memory")
    expect(shown["stored_bytes"] < (MIB + 12) << 20, f"{shown['stored_bytes']} bytes are stored")


def case_damage(victim):
    """A byte that is not what it was is found by verify and by restore, wherever in a stream it lies."""
    folder = victim.dump("streamed", "--stream", "2", "--compress", "lz4")
    victim.collect()
    name = os.path.join(folder, "img-1.lz4")
    size = os.path.getsize(name)
    for at in (20, 4096, 4100, size // 2, size - 1):
        flip(name, at)
        said = call("verify", folder, status=1)
        expect("img-1.lz4" in said, said)
        said = call("restore", "-d", "-D", folder, status=1)
        expect("img-1.lz4" in said, said)
        flip(name, at)
    with open(name, "ab") as file:
        file.write(b"more")
    expect("img-1.lz4" in call("verify", folder, status=1), "bytes that belong to nothing are not found")
    os.truncate(name, size)
    victim.restore(folder)


def flip(name, at):
    with open(name, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0] ^ 1
        file.seek(at)
        file.write(bytes([byte]))


MIB = 24


def main(work):
    victim = Victim(work, MIB)
    try:
        {"lz4": case_lz4, "none": case_none, "many": case_many, "equal": case_equal, "damage": case_damage}[CASE](victim)
    finally:
        victim.end()


harness.run(main)
