# ctest: TIMEOUT 150
# ctest: CASES shell window resumed supervisor_killed crash refusals
"""run --tty: a job at a terminal of its own, attach and detach, and both over a checkpoint."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time

import harness
import jobs
from harness import expect


class Seat:
    """Somebody at a terminal, where a command of mini-criu runs in the foreground."""

    def __init__(self, *words, rows=24, columns=80):
        self.ours, theirs = pty.openpty()
        self.resize(rows, columns)
        self.settings = termios.tcgetattr(theirs)
        self.slave = os.dup(theirs)
        self.process = subprocess.Popen([harness.ENGINE, *map(str, words)], stdin=theirs, stdout=theirs, stderr=theirs,
                                        preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)))
        os.close(theirs)
        os.set_blocking(self.ours, False)
        self.seen = ""

    def resize(self, rows, columns):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.ours, text.encode())

    def look(self):
        try:
            while data := os.read(self.ours, 4096):
                self.seen += data.decode(errors="replace")
        except (BlockingIOError, OSError):
            pass
        return self.seen

    def wait_for(self, pattern, seconds=15):
        try:
            return harness.wait_until(lambda: re.search(pattern, self.look()), seconds, pattern)
        except harness.Failure as failure:
            raise harness.Failure(f"{failure}; seen: {self.seen[-1000:]!r}")

    def end(self, seconds=15):
        def ended():
            self.look()
            return self.process.poll() is not None

        harness.wait_until(ended, seconds, f"the end of the command; seen: {self.seen[-1000:]!r}")
        self.look()
        expect(termios.tcgetattr(self.slave) == self.settings, "the terminal is left in another mode")
        os.close(self.ours), os.close(self.slave)
        return self.process.returncode


LEAVE = "\x10\x11"


def shell(directory):
    """A shell with job control: typed at, left, come back to, interrupted, its status passed on."""
    all_jobs = jobs.Jobs(directory)
    seat = Seat("run", "--jobs-dir", all_jobs.folder, "--id", "a", "-t", "-f", "--env", "PS1=> ", "--", "bash", "--norc", "-i")
    seat.wait_for("> ")
    seat.type("tty; echo at $((6 * 7))\n")
    seat.wait_for(r"/dev/pts/\d+\r\nat 42\r\n")
    seat.type("sleep 1000\n")
    seat.wait_for("sleep 1000\r\n")
    program = all_jobs.job("a")["pid"]
    harness.wait_until(lambda: harness.read(f"/proc/{program}/task/{program}/children"), 10, "a child of the shell")
    seat.type("\x03")
    seat.type("echo st$?\n")
    seat.wait_for("st130\r\n")
    seat.type("x=kept; echo set$((1 + 1))\n")
    seat.wait_for("set2\r\n.*> ")
    seat.type(LEAVE)
    expect(seat.end() == 0 and "job a goes on" in seat.seen, seat.seen)
    expect(all_jobs.job("a")["status"] == "running", all_jobs.job("a"))
    expect("at 42" in all_jobs.must("logs", "a").output, "the log lacks what was printed")
    again = Seat("attach", "--jobs-dir", all_jobs.folder, "a")
    again.type("\n")
    again.wait_for("> ")
    again.type("echo $x at $((7 * 7))\n")
    again.wait_for("kept at 49\r\n")
    other = Seat("attach", "--jobs-dir", all_jobs.folder, "--detach-keys", "ctrl-a,d", "a")
    other.type("\n")
    other.wait_for("> ")
    again.type("echo both $((8 * 8))\n")
    again.wait_for("both 64\r\n"), other.wait_for("both 64\r\n")
    other.type("\x01d")
    expect(other.end() == 0, other.seen)
    again.type("exit 7\n")
    expect(again.end() == 7, f"{again.process.returncode}: {again.seen}")
    expect(all_jobs.wait_for_status("a", "failed (status 7)"), "its status")
    quick = Seat("run", "--jobs-dir", all_jobs.folder, "-tf", "--", "echo", "gone already")
    expect(quick.end() == 0 and "gone already\r\n" in quick.seen, quick.seen)  # whoever was the first
    harness.no_helpers()


def window(directory):
    """The program knows the size of the window, at once and when it changes."""
    all_jobs = jobs.Jobs(directory)
    program = "trap 'stty size' WINCH; echo ready; stty size; while :; do sleep 0.05; done"
    seat = Seat("run", "--jobs-dir", all_jobs.folder, "--id", "a", "-tf", "--", "bash", "-c", program, rows=33, columns=101)
    seat.wait_for("33 101\r\n")
    seat.resize(44, 120)
    seat.wait_for("44 120\r\n")
    seat.type(LEAVE)
    expect(seat.end() == 0, seat.seen)
    again = Seat("attach", "--jobs-dir", all_jobs.folder, "a", rows=44, columns=120)
    again.wait_for("44 120\r\n")  # of the same size, it is told to draw anew
    again.process.terminate()
    expect(again.end() == -signal.SIGTERM, again.seen)
    all_jobs.end("a")
    harness.no_helpers()


# Asks for a word without echo, as for a password; what was typed before is in the terminal's queue.
ASKS = """
import os, sys, termios, time
settings = termios.tcgetattr(0)
settings[3] &= ~termios.ECHO
termios.tcsetattr(0, termios.TCSANOW, settings)
print("ready", os.ttyname(0) == os.ttyname(1), flush=True)
number = 0
while not os.path.exists(sys.argv[1]):
    number += 1
    time.sleep(0.01)
print("word:", sys.stdin.readline().strip()[::-1], os.isatty(0), os.getsid(0) == os.getpid(),
      os.tcgetpgrp(0) == os.getpgrp(), bool(termios.tcgetattr(0)[3] & termios.ECHO), os.get_terminal_size(0), flush=True)
sys.stdin.readline()
"""


def resumed(directory):
    """A checkpoint has the terminal: its modes, its size, what was typed and not read; the log neither repeats nor lacks."""
    all_jobs = jobs.Jobs(directory)
    program, moment = os.path.join(directory, "asks.py"), os.path.join(directory, "now")
    with open(program, "w") as stream:
        stream.write(ASKS)
    seat = Seat("run", "--jobs-dir", all_jobs.folder, "--id", "a", "-t", "-f", "--", "python3", program, moment, rows=31, columns=77)
    seat.wait_for("ready True")
    seat.type("abcdef\n")
    time.sleep(0.2)  # it lies in the queue by now; if not, it is lost and the test fails
    all_jobs.must("checkpoint", "a")
    seat.type(LEAVE)
    expect(seat.end() == 0, seat.seen)
    all_jobs.must("stop", "a")
    others = [pty.openpty() for _ in range(3)]  # that have its number meanwhile
    open(moment, "w").close()
    again = Seat("resume", "--jobs-dir", all_jobs.folder, "-f", "a", rows=31, columns=77)
    again.wait_for(r"word: fedcba True True True False os.terminal_size\(columns=77, lines=31\)\r\n")
    again.type("\n")
    expect(again.end() == 0, f"{again.process.returncode}: {again.seen}")
    log = all_jobs.log("a")
    expect(log.startswith("ready True\n") and log.count("word:") == 1 and len(log.splitlines()) == 2, log)
    for one in others:
        os.close(one[0]), os.close(one[1])
    from_first = all_jobs.must("resume", "a", "--from", "1")
    expect("goes on from checkpoint 1" in from_first.output, from_first)
    last = Seat("attach", "--jobs-dir", all_jobs.folder, "a")
    harness.wait_until(lambda: all_jobs.log("a").count("word:") == 1, 10, "the word")
    last.type("\n")
    expect(last.end() == 0, last.seen)
    plain = harness.engine("restore", "-D", all_jobs.path("a", "checkpoints", "001"), "-d")
    expect(plain.code == 1 and "mini-criu resume brings the job back" in plain.text, plain)
    harness.no_helpers()


def supervisor_killed(directory):
    """The terminal outlives the supervisor: somebody who is attached sees nothing of its death; nothing is lost."""
    all_jobs = jobs.Jobs(directory)
    all_jobs.start("train", 400, 0.02, "--tty", "--every", "60ms", "--keep", "2")
    seat = Seat("attach", "--jobs-dir", all_jobs.folder, "train")
    seat.wait_for("step 5 ")
    for _ in range(8):
        time.sleep(0.1)
        supervisor = int(all_jobs.state("train").get("supervisor", 0))
        if supervisor and all_jobs.folder in harness.read(f"/proc/{supervisor}/cmdline"):
            os.kill(supervisor, signal.SIGKILL)
            harness.wait_until(lambda: not harness.exists(supervisor) or harness.field(supervisor, "State")[:1] == "Z", 10,
                               "its end")
            harness.reap_all()
        expect(all_jobs.job("train")["status"] == "running", all_jobs.job("train"))
    seat.end(40)
    harness.wait_until(lambda: all_jobs.job("train")["status"] in ("finished", "ended"), 20, "its end")
    alone = subprocess.run(["python3", all_jobs.loop, "400", "0"], capture_output=True, text=True, timeout=30).stdout
    expect(harness.read(all_jobs.path("train", "output.log"), "rb").decode() == alone.replace("\n", "\r\n"), "the log")
    expect(seat.seen.replace("\r\n", "\n").endswith(alone[alone.index("step 6 "):]) or "result" in seat.seen, seat.seen[-300:])
    harness.no_helpers()


def crash(directory):
    """A program that is killed comes back from its checkpoint with its terminal; who was attached stays so."""
    all_jobs = jobs.Jobs(directory)
    all_jobs.start("train", 200, 0.02, "--tty", "--every", "200ms", "--restart", "5")
    all_jobs.wait_for_checkpoints("train", 1)
    seat = Seat("attach", "--jobs-dir", all_jobs.folder, "train")
    seat.wait_for("step")
    all_jobs.kill_program("train")
    seat.wait_for("result", 40)
    expect(seat.end() == 0, seat.seen[-300:])
    alone = subprocess.run(["python3", all_jobs.loop, "200", "0"], capture_output=True, text=True, timeout=30).stdout
    expect(harness.read(all_jobs.path("train", "output.log"), "rb").decode() == alone.replace("\n", "\r\n"),
           all_jobs.log("train")[-300:] + harness.read(all_jobs.path("train", "execution.log")))
    harness.no_helpers()


def refusals(directory):
    all_jobs = jobs.Jobs(directory)
    all_jobs.start("plain", 1000, 0.02)
    all_jobs.refused("attach", "plain", saying="has no terminal")
    all_jobs.refused("attach", "nobody", saying="there is no job nobody")
    all_jobs.refused("attach", "plain", "--detach-keys", "strg-x", saying="is no key", code=2)
    all_jobs.refused("run", "-t", "--id", "b", "--on-signal", "USR1", "true", saying="leave one of them out", code=2)
    all_jobs.end("plain")
    all_jobs.must("run", "-t", "--id", "b", "true")
    all_jobs.wait_for_status("b", "finished")
    all_jobs.refused("attach", "b", saying="does not run")
    harness.no_helpers()


harness.cases({"shell": shell, "window": window, "resumed": resumed, "supervisor_killed": supervisor_killed, "crash": crash,
               "refusals": refusals})
