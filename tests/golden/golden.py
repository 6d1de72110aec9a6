"""The golden program: where it lives, how it is started under a chosen pid."""

import contextlib
import ctypes
import fcntl
import os
import re
import shutil
import struct
import time

HERE = os.path.dirname(os.path.abspath(__file__))
HOME = "/tmp/mini-criu-golden"  # the image names its files by path
PROGRAM = os.path.join(HOME, "still")
PREFIX = os.path.join(HOME, "run")
PID = 31007  # below the smallest pid_max (32768), far from where a machine begins to count


def without_age(text):
    return re.sub(r" \((\d+ \w+ ago|in the future)\)", "", text)


@contextlib.contextmanager
def home():
    """The folder with the program in it, for one test at a time; removed afterwards."""
    with open(HOME + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(HOME, ignore_errors=True)
        os.mkdir(HOME)
        try:
            yield HOME
        finally:
            shutil.rmtree(HOME, ignore_errors=True)


def start(pid=PID):
    """Runs the program with this pid, as leader of its own session."""
    libc = ctypes.CDLL(None, use_errno=True)
    wanted = struct.pack("i", pid)
    buffer = ctypes.create_string_buffer(wanted)
    arguments = struct.pack("11Q", 0, 0, 0, 0, 17, 0, 0, 0, ctypes.addressof(buffer), 1, 0)
    child = libc.syscall(435, ctypes.create_string_buffer(arguments), len(arguments))  # clone3
    if child < 0:
        raise OSError(ctypes.get_errno(), f"a process with pid {pid} cannot be made")
    if child == 0:
        try:
            os.setsid()
            for number in (0, 1, 2):
                os.dup2(os.open("/dev/null", os.O_RDWR), number)
            os.closerange(3, 1 << 16)
            os.chdir("/")
            os.execve(PROGRAM, [PROGRAM, PREFIX], {})
        finally:
            os._exit(127)
    return child


def wait_for(path, seconds=10):
    end = time.monotonic() + seconds
    while not os.path.exists(path):
        if time.monotonic() > end:
            raise RuntimeError(f"{path} does not appear")
        time.sleep(0.01)
