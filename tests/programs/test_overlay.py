# ctest: TIMEOUT 120
# ctest: CASES workloads copied_up hidden
"""Files on an overlay file system, in a mount namespace of this test: deleted ones, copied-up ones, hidden ones."""

import ctypes
import os
import re
import subprocess
import sys

import harness

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000

COPIED_UP = r"""
import mmap, os, signal, sys
old = os.open("lower", os.O_RDONLY)
mapped = mmap.mmap(old, 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
os.lseek(old, 6, os.SEEK_SET)
new = os.open("lower", os.O_RDWR | os.O_APPEND)     # the file is copied up here
os.write(new, b"appended\n")
gone = os.open("removed", os.O_RDONLY)              # of the lower folder only
os.unlink("removed")
moved = os.open("moved", os.O_RDONLY)
os.rename("moved", "inner/moved")
folder = os.open("inner", os.O_RDONLY | os.O_DIRECTORY)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
open("ready.new", "w").close()
os.rename("ready.new", "ready")  # it is there when nothing has it open any more
signal.sigwait([signal.SIGTERM])
assert os.pread(old, 100, 0) == b"lower file\nappended\n", os.pread(old, 100, 0)
assert os.lseek(old, 0, os.SEEK_CUR) == 6
assert mapped[:11] == b"lower file\n"
assert os.write(new, b"more\n") == 5
assert os.pread(gone, 100, 0) == b"removed file\n"
assert os.fstat(gone).st_nlink == 0
assert os.pread(moved, 100, 0) == b"moved file\n"
assert os.fstat(folder).st_ino == os.stat("inner").st_ino
open("result", "w").write("PASS")
"""


def mount(source, target, kind, flags=0, data=None):
    if harness.libc.mount(source.encode(), target.encode(), kind.encode() if kind else None,
                          ctypes.c_ulong(flags), data.encode() if data else None) != 0:
        raise harness.Skip(f"{kind} cannot be mounted here: {os.strerror(ctypes.get_errno())}")


def make_overlay(directory):
    """The merged folder; its lower layer has some files."""
    if harness.libc.unshare(CLONE_NEWNS) != 0:
        raise harness.Skip("a mount namespace cannot be made here")
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("none", directory, "tmpfs")
    layers = {name: os.path.join(directory, name) for name in ("lower", "upper", "work", "merged")}
    for path in layers.values():
        os.mkdir(path)
    os.mkdir(os.path.join(layers["lower"], "inner"))
    for name in ("lower", "removed", "moved"):
        with open(os.path.join(layers["lower"], name), "w") as stream:
            stream.write(f"{name} file\n")
    mount("overlay", layers["merged"], "overlay",
          data=f"lowerdir={layers['lower']},upperdir={layers['upper']},workdir={layers['work']}")
    return layers["merged"]


def workloads(directory):
    environment = dict(os.environ, MCR_TEST_DIR=make_overlay(directory))
    driver = os.path.join(harness.WORKLOADS, "..", "cr-driver")
    for name in ("files_offsets", "deleted_file", "deleted_file_hole", "unnamed_file", "ghost_names", "cwd_deleted",
                 "cwd_deleted_nested", "fifo_contents", "opath_kinds", "directory_position", "memory_shared_file",
                 "memory_deleted_file", "link_remap"):
        for mode in ("go_on", "restore"):
            done = subprocess.run([driver, harness.ENGINE, mode, os.path.join(harness.WORKLOADS, name)],
                                  env=environment, capture_output=True, text=True, errors="replace", timeout=60)
            harness.expect(done.returncode in (0, 77), f"{name}, {mode}:\n{done.stdout}{done.stderr}")


def copied_up(directory):
    merged = make_overlay(directory)
    pid = harness.start([sys.executable, "-c", COPIED_UP], os.path.join(directory, "out"), cwd=merged)
    harness.wait_until(lambda: os.path.exists(os.path.join(merged, "ready")), 10, "the program")
    images = os.path.join(directory, "images")
    harness.must(harness.dump(pid, os.path.join(directory, "first"), "-R"))
    harness.dump_and_reap(pid, images)
    harness.must(harness.restore(images))
    os.kill(pid, 15)
    harness.wait_for(pid)
    result = harness.read(os.path.join(merged, "result"))
    harness.expect(result == "PASS", result + harness.read(os.path.join(directory, "out.err")))


def hidden(directory):
    """A file in a folder that another file system was mounted over is refused by name, and nothing is harmed."""
    merged = make_overlay(directory)
    program = ("import os, time; f = os.open('inner/file', os.O_CREAT | os.O_RDWR); "
               "open('ready.new', 'w').close(); os.rename('ready.new', 'ready'); time.sleep(1000)")
    pid = harness.start([sys.executable, "-c", program], os.path.join(directory, "out"), cwd=merged)
    harness.wait_until(lambda: os.path.exists(os.path.join(merged, "ready")), 10, "the program")
    mount("none", os.path.join(merged, "inner"), "tmpfs")
    before = harness.state_of(pid)
    result = harness.dump(pid, os.path.join(directory, "images"))
    harness.expect(result.code == 1, f"a refusal was expected: {result}")
    harness.expect(re.search(r"inner/file cannot be reached by its name", result.text), str(result))
    harness.expect_unharmed(pid, before, "after a refused dump")
    harness.kill_and_reap(pid)


if __name__ == "__main__":
    harness.cases({"workloads": workloads, "copied_up": copied_up, "hidden": hidden})
