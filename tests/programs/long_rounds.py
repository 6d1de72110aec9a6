"""Many rounds of dump and restore of one small program that counts: nothing may grow, fail or be lost.

Looked at in every round: pid, the numbers that it writes, mappings, descriptors, threads, size of the image, what is
left of the engine. Memory in use may not grow after the first rounds."""

import ctypes
import os
import re
import struct
import time

import harness
from harness import Failure, expect

CLONE_NEWNS, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x4000, 1 << 18, 2
WARM = 5  # rounds until everything that a restored program touches once has been touched


def figures_of(pid):
    text = harness.read(f"/proc/{pid}/status")
    return {name: int(re.search(rf"^{name}:\s*(\d+)", text, re.M).group(1))
            for name in ("VmSize", "VmPTE", "RssAnon", "VmRSS", "Threads", "FDSize")}


def image_bytes(folder):
    return sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder) if name.endswith(".img"))


class Numbers:
    """Reads on in the output: each number is one more than the one before."""

    def __init__(self, path):
        self.stream, self.last = open(path, "rb"), 0

    def read_on(self):
        data = self.stream.read()
        expect(len(data) % 8 == 0, "half a number was written")
        for (number,) in struct.iter_unpack("<Q", data):
            expect(number == self.last + 1, f"{number} was written after {self.last}")
            self.last = number
        return self.last


def own_tmp(directory):
    """An empty /tmp of our own, with nothing but `directory` and in it what is needed: all that is left there is the
    engine's. Returns the program."""
    needed = {path: harness.read(path, "rb")
              for path in (harness.ENGINE, os.path.join(harness.WORKLOADS, "counting-loop"))}
    if harness.libc.unshare(CLONE_NEWNS) != 0:
        raise harness.Skip("cannot make a mount namespace")
    harness.libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
    if harness.libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None) != 0:
        raise harness.Skip("cannot mount a tmpfs: " + os.strerror(ctypes.get_errno()))
    tools = os.path.join("/tmp", "tools")
    for folder in (tools, directory):
        os.makedirs(folder, exist_ok=True)
    os.chdir(tools)
    for path, content in needed.items():
        with open(os.path.join(tools, os.path.basename(path)), "wb") as stream:
            stream.write(content)
        os.chmod(os.path.join(tools, os.path.basename(path)), 0o755)
    harness.ENGINE = os.path.join(tools, os.path.basename(harness.ENGINE))
    return os.path.join(tools, "counting-loop")


class Watch:
    def __init__(self, pid, directory):
        self.pid, self.directory = pid, directory
        self.maps, self.fds = harness.read(f"/proc/{pid}/maps"), harness.links(pid)
        self.first = self.smallest = self.largest = None
        self.image = None

    def look(self, round_number, images):
        pid = self.pid
        trouble = harness.trouble_of(pid)
        expect(not trouble, f"round {round_number}: {trouble}")
        expect(harness.read(f"/proc/{pid}/maps") == self.maps, f"round {round_number}: other mappings")
        expect(harness.links(pid) == self.fds, f"round {round_number}: other descriptors")
        names = sorted(os.listdir(self.directory))
        expect(names == ["images", "numbers", "numbers.err"], f"round {round_number}: files {names}")
        size = image_bytes(images)
        self.image = self.image or size
        # Numbers in it (times, counts) may have a digit more or less.
        expect(abs(size - self.image) < 256, f"round {round_number}: the image has {size} bytes, not {self.image}")
        if round_number < WARM:
            return
        figures = figures_of(pid)
        self.first = self.first or dict(figures)
        self.largest = {name: max(value, (self.largest or figures)[name]) for name, value in figures.items()}
        self.smallest = {name: min(value, (self.smallest or figures)[name]) for name, value in figures.items()}
        for name in ("VmSize", "VmPTE", "RssAnon", "Threads", "FDSize"):
            expect(figures[name] == self.first[name],
                   f"round {round_number}: {name} is {figures[name]}, was {self.first[name]}")
        # Pages of files are in use or not as the kernel finds them in its cache; there are so many and not more.
        expect(figures["VmRSS"] <= self.first["VmRSS"] * 1.1,
               f"round {round_number}: VmRSS is {figures['VmRSS']} KiB, was {self.first['VmRSS']}")


def count_on(program, directory, count):
    in_tmp = sorted(os.listdir("/tmp"))
    output, images = os.path.join(directory, "numbers"), os.path.join(directory, "images")
    pid = harness.start([program], output)
    numbers = Numbers(output)
    harness.wait_until(lambda: numbers.read_on() > 10, 10, "counting")
    watch = Watch(pid, directory)
    began = last_told = time.monotonic()
    for number in range(1, count + 1):
        harness.must(harness.engine("dump", "-t", pid, "-D", images, "--no-sync", "-o", "dump.log"))
        expect(harness.wait_for(pid) == -9, "the dump did not end the program")
        reached = numbers.read_on()
        harness.must(harness.engine("restore", "-D", images, "-d", "-o", "restore.log"))
        harness.wait_until(lambda: numbers.read_on() > reached + 2, 10, f"round {number}: counting")
        watch.look(number, images)
        harness.no_helpers(pid)
        if time.monotonic() - last_told > 30:
            last_told = time.monotonic()
            print(f"{number} rounds in {last_told - began:.0f} s", flush=True)
    took = time.monotonic() - began
    left = sorted(os.listdir("/tmp"))
    expect(left == in_tmp, f"left in /tmp: {set(left) - set(in_tmp)}")
    print(f"{count} rounds in {took:.1f} s, {took / count * 1000:.1f} ms each; counted to {numbers.read_on()}, "
          f"every number once; image {watch.image} bytes")
    for name, value in (watch.first or {}).items():
        print(f"  {name}: {value} after round {WARM}, later {watch.smallest[name]} to {watch.largest[name]}")
    if harness.kill_and_reap(pid) != -9:
        raise Failure("the program had ended")


def rounds(directory, count):
    program = own_tmp(directory)
    try:
        count_on(program, directory, count)
    finally:
        harness.end_all_children()
        os.chdir("/")
        harness.libc.umount2(b"/tmp", MNT_DETACH)  # so that what it hides can be removed
