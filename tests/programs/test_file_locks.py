# ctest: TIMEOUT 120
# ctest: CASES without_the_option breaking leased_and_mapped taken_flock taken_process taken_open_file taken_lease not_taken
"""File locks and leases: refused by name without --file-locks; what cannot be kept is refused with it; a lock that
somebody else has taken meanwhile is listed by the restore, before anything is created."""

import fcntl
import os
import re
import signal
import struct
import sys
import time

import harness

PRELUDE = """
import fcntl, mmap, os, signal, struct, sys, time
F_OFD_SETLK, F_SETLEASE = 37, 1024
def lock(fd, kind, start, size, command=fcntl.F_SETLK):
    fcntl.fcntl(fd, command, struct.pack("hhqqi4x", kind, 0, start, size, 0))
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open("locked", os.O_RDWR | os.O_CREAT, 0o600)
os.write(fd, b"x" * 8192)
"""
WAIT = """
open("ready.part", "w").close()
os.rename("ready.part", "ready")
while not os.path.exists("go"):
    time.sleep(0.01)
open("done", "w").close()
"""
HELD = {
    "flock": ("fcntl.flock(fd, fcntl.LOCK_EX)", r"an exclusive lock \(flock\)"),
    "process": ("lock(fd, fcntl.F_WRLCK, 100, 50)", r"a write lock on bytes 100 to 149 \(F_SETLK\)"),
    "open_file": ("lock(fd, fcntl.F_RDLCK, 100, 0, F_OFD_SETLK)", r"a read lock on all from byte 100 \(F_OFD_SETLK\)"),
    "lease": ("fcntl.fcntl(fd, F_SETLEASE, fcntl.F_WRLCK)", r"a write lease \(F_SETLEASE\)"),
}


def begin(directory, name, lines):
    place = os.path.join(directory, name)
    os.mkdir(place)
    with open(os.path.join(place, "program.py"), "w") as stream:
        stream.write(PRELUDE + lines + WAIT)
    pid = harness.start([sys.executable, "program.py"], os.path.join(place, "out"), cwd=place)
    harness.wait_until(lambda: os.path.exists(f"{place}/ready"), 10, f"{name}: the program is ready")
    return pid, place


def finish(pid, place):
    open(os.path.join(place, "go"), "w").close()
    harness.wait_until(lambda: os.path.exists(f"{place}/done"), 10, "the program ends")
    harness.wait_for(pid)


def expect_refused(pid, place, pattern, *options, others=()):
    before = harness.state_of(pid)
    result = harness.dump(pid, os.path.join(place, "images"), *options)
    harness.expect(result.code == 1 and re.search(pattern, result.text), f"/{pattern}/ was expected: {result}")
    harness.expect(f"{place}/locked" in result.text and "; " in result.text, f"no name or remedy: {result}")
    harness.no_helpers(pid, *others)
    harness.expect_unharmed(pid, before, "after the refusal")


def without_the_option(directory):
    for name, (lines, pattern) in HELD.items():
        pid, place = begin(directory, name, lines)
        expect_refused(pid, place, pattern + ".*--file-locks")
        log = harness.read(os.path.join(place, "images", "dump.log"))
        harness.expect("mappings collected" not in log, f"it was frozen before:\n{log}")
        finish(pid, place)


def breaking(directory):
    """A lease that others want to be given up is so afterwards: the program knows already, and is not told again."""
    pid, place = begin(directory, "breaking", HELD["lease"][0])
    other = harness.start([sys.executable, "-c", "import os; os.open('locked', os.O_RDONLY); open('opened', 'w')"],
                          os.path.join(place, "other"), cwd=place)
    harness.wait_until(lambda: "BREAKING" in harness.read("/proc/locks"), 10, "the lease is being broken")
    os.kill(other, signal.SIGKILL)  # what it has asked for stays so
    harness.wait_for(other)
    before = {field: harness.field(pid, field) for field in ("SigPnd", "ShdPnd")}
    images = os.path.join(place, "images")
    harness.dump_and_reap(pid, images, "--file-locks")
    harness.must(harness.restore(images))
    lines = [line for line in harness.read("/proc/locks").splitlines() if f" {pid} " in line]
    harness.expect(len(lines) == 1 and "BREAKING" in lines[0] and "READ" in lines[0], f"locks: {lines}")
    after = {field: harness.field(pid, field) for field in ("SigPnd", "ShdPnd")}
    harness.expect(before == after, f"signals {after}, were {before}")
    other = harness.start([sys.executable, "-c", "import os; os.open('locked', os.O_RDONLY); open('opened', 'w')"],
                          os.path.join(place, "other"), cwd=place)
    time.sleep(0.3)
    harness.expect(not os.path.exists(f"{place}/opened"), "the file was opened before the lease was given up")
    finish(pid, place)
    harness.wait_until(lambda: os.path.exists(f"{place}/opened"), 10, "the other one opens the file")
    harness.wait_for(other)


def leased_and_mapped(directory):
    pid, place = begin(directory, "mapped", HELD["lease"][0] + "\nm = mmap.mmap(fd, 4096)")
    expect_refused(pid, place, "which it has mapped too", "--file-locks")
    finish(pid, place)


def taken(kind, take, pattern):
    """`take` holds the file; the restore names it, and goes well when it has let go."""
    def test(directory):
        pid, place = begin(directory, kind, HELD[kind][0])
        images = os.path.join(place, "images")
        harness.dump_and_reap(pid, images, "--file-locks")
        fd = os.open(os.path.join(place, "locked"), os.O_RDWR)
        take(fd)
        result = harness.restore(images)
        harness.expect(result.code == 1 and re.search(pattern, result.text), f"/{pattern}/ was expected: {result}")
        harness.no_helpers()
        harness.expect(not harness.exists(pid), "something was restored all the same")
        os.close(fd)
        harness.must(harness.restore(images))
        lines = [line for line in harness.read(f"/proc/{pid}/fdinfo/3").splitlines() if line.startswith("lock:")]
        harness.expect(len(lines) == 1, f"the program has these locks: {lines}")
        finish(pid, place)
    return test


def set_lock(kind, start, size, command):
    return lambda fd: fcntl.fcntl(fd, command, struct.pack("hhqqi4x", kind, 0, start, size, 0))


def not_taken(directory):
    """Locks beside it and shared ones do not stand in the way."""
    pid, place = begin(directory, "beside", HELD["open_file"][0] + "\nfcntl.flock(fd, fcntl.LOCK_SH)")
    images = os.path.join(place, "images")
    harness.dump_and_reap(pid, images, "--file-locks")
    fd = os.open(os.path.join(place, "locked"), os.O_RDWR)
    set_lock(fcntl.F_WRLCK, 0, 100, 37)(fd)
    set_lock(fcntl.F_RDLCK, 100, 100, 37)(fd)
    fcntl.flock(fd, fcntl.LOCK_SH)
    harness.must(harness.restore(images))
    os.close(fd)
    finish(pid, place)


OWN = rf"process {os.getpid()} \(python"
harness.cases({
    "without_the_option": without_the_option, "breaking": breaking, "leased_and_mapped": leased_and_mapped,
    "taken_flock": taken("flock", lambda fd: fcntl.flock(fd, fcntl.LOCK_SH), OWN),
    "taken_process": taken("process", set_lock(fcntl.F_WRLCK, 149, 1, fcntl.F_SETLK), OWN),
    "taken_open_file": taken("open_file", set_lock(fcntl.F_WRLCK, 8000, 0, 37), "an open file of another process"),
    "taken_lease": taken("lease", lambda fd: None, "a write lease .* cannot be taken again"),
    "not_taken": not_taken})
