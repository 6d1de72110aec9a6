# ctest: TIMEOUT 180
# ctest: CASES shell nested tmux refused taken
"""Pseudo-terminals with both ends in the tree: shells that a Python program drives, and states that are refused."""

import os
import shutil
import subprocess
import sys
import time

import harness

# Drives `bash -i`: types what it finds in the file "type", and writes what it sees to "screen".
DRIVER = r"""
import os, pty, select, signal, sys, termios
for number in range(3, 300):
    try: os.close(number)
    except OSError: pass
low = [os.openpty() for _ in range(20)]  # low numbers: another test may be given them meanwhile
pid, master = pty.fork()
if pid == 0:
    os.environ["PS1"] = "$ "
    os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
for one, other in low: os.close(one), os.close(other)
termios.tcsetwinsize(master, (40, 120))
screen = os.open("screen", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
while True:
    if select.select([master], [], [], 0.02)[0]:
        try: text = os.read(master, 4096)
        except OSError: break
        os.write(screen, text)
    if os.path.exists("type"):
        with open("type", "rb") as stream: text = stream.read()
        os.unlink("type")
        os.write(master, text)
"""


def restore(images):
    """Another test may have a terminal of that number for a moment."""
    for _ in range(40):
        result = harness.restore(images)
        if result.code == 0 or "taken" not in result.text:
            break
        time.sleep(0.25)
    return harness.must(result)


class Shell:
    def __init__(self, directory):
        self.directory = directory
        self.seen = 0
        with open(f"{directory}/driver.py", "w") as stream:
            stream.write(DRIVER)
        self.pid = harness.start([sys.executable, "driver.py"], f"{directory}/out", cwd=directory)

    def screen(self):
        return harness.read(f"{self.directory}/screen", "rb")[self.seen:].decode(errors="replace")

    def type(self, text):
        self.seen = os.path.getsize(f"{self.directory}/screen") if os.path.exists(f"{self.directory}/screen") else 0
        with open(f"{self.directory}/type.part", "w") as stream:
            stream.write(text)
        os.rename(f"{self.directory}/type.part", f"{self.directory}/type")
        harness.wait_until(lambda: not os.path.exists(f"{self.directory}/type"), 10, "the driver types")

    def wait(self, text):
        try:
            harness.wait_until(lambda: text in self.screen(), 15, f"{text!r} on the screen")
        except harness.Failure as failure:
            raise harness.Failure(f"{failure}\nthe screen says: {self.screen()!r}") from None

    def say(self, command, answer):
        self.type(command + "\n")
        self.wait(answer)

    def round_trip(self, name):
        images = f"{self.directory}/{name}"
        harness.dump_and_reap(self.pid, images)
        restore(images)


def shell(directory):
    """A shell with a job in the foreground, one in the background and one that is stopped; then it goes on."""
    sh = Shell(directory)
    sh.say("X=41; echo r$((X+1))", "r42")
    sh.type("sleep 1000 &\n")
    sh.wait("$ ")
    sh.say("(echo inner; sleep 2000)", "inner")
    sh.round_trip("first")
    sh.type("\x1a")  # ^Z
    sh.wait("Stopped")
    sh.round_trip("second")
    sh.say("jobs; echo there are $(jobs | wc -l)", "there are 2")
    sh.say("stty size; echo size", "40 120")
    sh.type("fg\n")
    sh.wait("sleep 2000")
    sh.round_trip("third")
    sh.type("\x03")  # ^C
    sh.wait("$ ")
    sh.say("echo still r$((X+2))", "still r43")
    sh.type("echo half")  # a line that is not complete
    sh.wait("half")
    sh.round_trip("fourth")
    sh.say("way $((X+3))", "halfway 44")
    sh.type("kill %1; exit\n")
    harness.wait_until(lambda: not harness.exists(sh.pid) or harness.field(sh.pid, "State")[:1] == "Z", 10, "the end")


def nested(directory):
    """A shell inside of script(1) inside of a shell: two terminals."""
    if not os.path.exists("/usr/bin/script"):
        raise harness.Skip("there is no script(1)")
    sh = Shell(directory)
    sh.say("script -q -c 'bash --norc --noprofile -i' typescript", "$ ")
    sh.say("Y=7; echo inner $((Y*6))", "inner 42")
    sh.type("cat\n")
    sh.wait("cat")
    sh.round_trip("first")
    sh.say("parrot", "parrot\r\nparrot")
    sh.type("\x04")  # an end of file for cat
    sh.say("echo again $((Y*7)); tty", "again 49")
    sh.round_trip("second")
    sh.type("exit\n")
    sh.wait("$ ")  # of the outer shell: until then script(1) takes what is typed
    sh.say("echo outer $((1+1))", "outer 2")
    harness.expect("again 49" in harness.read(f"{directory}/typescript"), "script(1) did not write what it saw")


# Adopts the server of tmux, which leaves its caller.
ADOPTER = r"""
import ctypes, os, subprocess, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
subprocess.run(["tmux", "-S", os.getcwd() + "/socket", "-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24",
                "bash --norc --noprofile -i"], check=True)
open("part", "w").close()
os.rename("part", "ready")
while True: time.sleep(1)
"""


def tmux(directory):
    """The server of tmux with a shell in its terminal; clients from outside find it again."""
    if not shutil.which("tmux"):
        raise harness.Skip("there is no tmux")
    with open(f"{directory}/adopter.py", "w") as stream:
        stream.write(ADOPTER)
    pid = harness.start([sys.executable, "adopter.py"], f"{directory}/out", cwd=directory)
    harness.wait_until(lambda: os.path.exists(f"{directory}/ready"), 10, "tmux is ready")

    def client(*arguments):
        return subprocess.run(["tmux", "-S", f"{directory}/socket", *arguments], capture_output=True, text=True,
                              timeout=10, stdin=subprocess.DEVNULL).stdout

    def say(text, answer):
        client("send-keys", text, "Enter")
        harness.wait_until(lambda: answer in client("capture-pane", "-p"), 15, answer)

    say("A=5; echo v$((A+1))", "v6")
    for turn in range(2):
        harness.dump_and_reap(pid, f"{directory}/images-{turn}")
        restore(f"{directory}/images-{turn}")
        say(f"echo w$((A+{10 + turn}))", f"w{15 + turn}")
    harness.expect("v6" in client("capture-pane", "-p"), "the screen was lost")


STATES = {
    # what it does with (master, slave), and what a dump says
    "packet": ("fcntl.ioctl(m, termios.TIOCPKT, b'\\1\\0\\0\\0'); termios.tcflush(s, termios.TCIOFLUSH)",
               "status byte of packet mode"),
    "stopped": ("termios.tcflow(s, termios.TCOOFF)", "its output is stopped"),
    "full": ("os.set_blocking(s, False); "
             "exec('try:\\n  while True: os.write(s, b\"x\" * 100)\\nexcept BlockingIOError: pass')",
             "4 KiB or more of output wait"),
    "slip": ("fcntl.ioctl(s, termios.TIOCSETD, b'\\3\\0\\0\\0')", "line discipline"),
    "mouse": ("fcntl.ioctl(s, termios.TIOCSETD, b'\\2\\0\\0\\0')", "line discipline"),
}


def start_state(directory, name, code):
    program = ("import fcntl, os, termios, time\nlow = [os.openpty() for _ in range(20)]\nm, s = os.openpty()\n"
               "for one, other in low: os.close(one), os.close(other)\n"
               f"try:\n  {code}\nexcept OSError: open('cannot', 'w').close()\n"
               "open('index', 'w').write(os.ttyname(s))\nopen('part', 'w').close(); os.rename('part', 'ready')\n"
               "while True: time.sleep(1)\n")
    folder = f"{directory}/{name}"
    os.mkdir(folder)
    with open(f"{folder}/program.py", "w") as stream:
        stream.write(program)
    pid = harness.start([sys.executable, "program.py"], f"{folder}/out", cwd=folder)
    harness.wait_until(lambda: os.path.exists(f"{folder}/ready"), 10, f"{name} is ready")
    return pid, folder


def refused(directory):
    for name, (code, expected) in STATES.items():
        pid, folder = start_state(directory, name, code)
        if not os.path.exists(f"{folder}/cannot"):
            before = harness.state_of(pid)
            result = harness.dump(pid, f"{folder}/d")
            harness.expect(result.code == 1 and expected in result.text and "terminal" in result.text,
                           f"{name}: expected {expected!r}\n{result}")
            harness.expect_unharmed(pid, before, f"after it was refused ({name})")
        harness.kill_and_reap(pid)
    # A process outside has the slave too.
    pid, folder = start_state(directory, "outside", "pass")
    slave = os.open(harness.read(f"{folder}/index"), os.O_RDWR | os.O_NOCTTY)
    result = harness.dump(pid, f"{folder}/d")
    harness.expect(result.code == 1 and f"is open in {os.getpid()}" in result.text, str(result))
    os.close(slave)
    # And the master.
    pidfd = os.pidfd_open(pid)
    number = next(fd for fd, link in harness.links(pid).items() if link == "/dev/ptmx")
    master = harness.libc.syscall(438, pidfd, number, 0)  # pidfd_getfd
    harness.expect(master >= 0, "pidfd_getfd failed")
    result = harness.dump(pid, f"{folder}/d")
    harness.expect(result.code == 1 and f"is open in {os.getpid()}" in result.text and "master" in result.text,
                   str(result))
    os.close(master)
    harness.must(harness.dump(pid, f"{folder}/d", "-R"))
    harness.kill_and_reap(pid)


def taken(directory):
    """The number belongs to somebody else at the restore: refused, naming the holder; afterwards it goes."""
    pid, folder = start_state(directory, "program", "os.write(s, b'kept')")
    path = harness.read(f"{folder}/index")
    harness.dump_and_reap(pid, f"{folder}/d")
    masters = []
    for _ in range(4096):
        masters.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
        if os.path.exists(path):
            break
    result = harness.restore(f"{folder}/d")
    harness.expect(result.code == 1 and f"{path}: is taken" in result.text and str(os.getpid()) in result.text,
                   str(result))
    for master in masters:
        os.close(master)
    restore(f"{folder}/d")
    harness.expect(path in harness.links(pid).values(), f"{path} is not there: {harness.links(pid)}")


harness.cases({"shell": shell, "nested": nested, "tmux": tmux, "refused": refused, "taken": taken})
