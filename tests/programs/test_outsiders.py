# ctest: TIMEOUT 60
# ctest: CASES both_ends unread_rest fifo busy_shell
"""What a program shares with a process outside of what is dumped: refused before the freeze, naming that process, or
warned of where it does no harm for certain. The one outside is this test, or a child of it."""

import os
import re
import subprocess
import sys
import time

import counting
import harness

PRELUDE = """
import os, sys, time
def count():
    open("ready.part", "w").close()
    os.rename("ready.part", "ready")
    i = 0
    with open("numbers", "w") as out:
        while True:
            out.write("%d\\n" % i)
            out.flush()
            i += 1
            time.sleep(0.002)
"""


class Program:
    """One that has the given descriptors ({number over there: ours}), does as told and counts."""

    def __init__(self, directory, program="pass", descriptors=None):
        self.images, self.numbers = os.path.join(directory, "images"), os.path.join(directory, "numbers")
        output = os.path.join(directory, "output")
        actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                   (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
                   (os.POSIX_SPAWN_DUP2, 1, 2)]
        actions += [(os.POSIX_SPAWN_DUP2, ours, number) for number, ours in (descriptors or {}).items()]
        old = os.getcwd()
        os.chdir(directory)
        self.pid = os.posix_spawn(sys.executable, [sys.executable, "-c", PRELUDE + program + "\ncount()\n"], os.environ,
                                  file_actions=actions, setsid=True)
        os.chdir(old)
        harness.wait_until(lambda: os.path.exists(f"{directory}/ready"), 10, f"ready: {harness.read(output)}")

    def expect_refused(self, *patterns):
        before = harness.state_of(self.pid)
        result = harness.dump(self.pid, self.images)
        harness.expect(result.code == 1, f"a refusal was expected: {result}")
        for pattern in patterns:
            harness.expect(re.search(pattern, result.text), f"/{pattern}/ was expected: {result}")
        log = harness.read(os.path.join(self.images, "dump.log"))
        harness.expect("mappings collected" not in log, f"it was frozen before:\n{log}")
        harness.expect_unharmed(self.pid, before, "after the refusal")
        counting.expect_progress(self.numbers, "after the refusal")

    def expect_saved(self):
        """Dumped, ended and restored."""
        result = harness.dump_and_reap(self.pid, self.images)
        harness.must(harness.restore(self.images))
        counting.expect_progress(self.numbers, "after the restore")
        harness.kill_and_reap(self.pid)
        return result


def holder_of(fd):
    """A process that has the descriptor as its input, and nothing else."""
    return subprocess.Popen(["sleep", "60"], stdin=fd)


def end(process):
    process.kill()
    process.wait()


def both_ends(directory):
    """A pipe whose ends both are the program's, while another never closed its own copy."""
    for which in (0, 1):
        place = os.path.join(directory, str(which))
        os.mkdir(place)
        ends = os.pipe()
        other = holder_of(ends[which])
        it = Program(place, "os.write(6, b'unread')", {5: ends[0], 6: ends[1]})
        os.close(ends[0]), os.close(ends[1])
        it.expect_refused(rf"an end of pipe:\[\d+\] is held by {other.pid} \(sleep\) outside")
        end(other)
        it.expect_saved()


def unread_rest(directory):
    """Nobody writes any more, and two could read what is left."""
    ends = os.pipe()
    other = holder_of(ends[0])
    it = Program(directory, "pass", {5: ends[0]})
    os.write(ends[1], b"rest")
    os.close(ends[0]), os.close(ends[1])
    it.expect_refused(rf"an end of pipe:\[\d+\] is held by {other.pid} \(sleep\) outside")
    end(other)
    it.expect_saved()


def fifo(directory):
    path = os.path.join(directory, "fifo")
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR)
    other = holder_of(fd)
    it = Program(directory, "pass", {5: fd})
    os.close(fd)
    it.expect_refused(rf"an end of {path} is held by {other.pid} \(sleep\) outside")
    end(other)
    it.expect_saved()


def busy_shell(directory):
    """Children that come and go, and have what their parent has, are no outsiders."""
    it = Program(directory, "os.pipe()\nif os.fork():\n while True:\n  if not os.fork(): os._exit(0)\n  os.wait()")
    for _ in range(30):
        harness.must(harness.dump(it.pid, it.images, "-R"))


harness.cases({case: globals()[case] for case in ("both_ends", "unread_rest", "fifo", "busy_shell")})
