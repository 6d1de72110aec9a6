# ctest: TIMEOUT 120
# ctest: CASES landlock keyrings inherited_session_keyring foreign_cpu_timer thread_cpu_timer used_up_limits lower_limits oom_adjustment thread_pidfd thread_namespace newcomer expired_cpu_timer shared_outside shared_unmakeable
"""What a process has that cannot be given to another one is refused by its name, with a remedy; the program runs on as
if nothing had happened. What is only like it is not refused."""

import os
import re
import subprocess
import sys

import harness

PRELUDE = """
import ctypes, os, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(number, *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0:
        error = os.strerror(ctypes.get_errno())
        open("ready", "w").write("SKIP " + error)
        sys.exit(error)
    return result
class Sigevent(ctypes.Structure):
    _fields_ = [("value", ctypes.c_long), ("signo", ctypes.c_int), ("notify", ctypes.c_int), ("pad", ctypes.c_char * 48)]
def timer(clock, arm):
    event, made = Sigevent(0, 0, 1), ctypes.c_void_p()
    assert libc.timer_create(clock, ctypes.byref(event), ctypes.byref(made)) == 0
    if arm:
        assert libc.timer_settime(made, 0, ctypes.byref((ctypes.c_long * 4)(0, 0, 1000, 0)), None) == 0
KEYCTL, ADD_KEY, JOIN, THREAD, PROCESS, SESSION = 250, 248, 1, -1, -2, -3
"""

WAIT = """
with open("ready.part", "w") as out:
    out.write("READY")
os.rename("ready.part", "ready")
while not os.path.exists("go"):
    time.sleep(0.01)
open("done", "w").close()
"""

LANDLOCK = """
os.setgroups([])
if {uid}:
    os.setresgid({uid}, {uid}, {uid})
    os.setresuid({uid}, {uid}, {uid})
libc.prctl(38, 1, 0, 0, 0)
ruleset = call(444, ctypes.byref((ctypes.c_ulong * 3)({rules})), 24, 0)
call(446, ruleset, 0)
os.close(ruleset)
"""
ADD = 'call(ADD_KEY, b"user", b"mcr-test", b"secret", 6, {where})\n'


def begin(directory, name, lines):
    place = os.path.join(directory, name)
    os.mkdir(place)
    os.chmod(place, 0o777)
    with open(os.path.join(place, "program.py"), "w") as stream:
        stream.write(PRELUDE + lines + WAIT)
    pid = harness.start([sys.executable, "program.py"], os.path.join(place, "out"), cwd=place)
    ready = harness.wait_until(lambda: harness.read(f"{place}/ready"), 10, f"{name}: the program is ready")
    if ready.startswith("SKIP"):
        raise harness.Skip(f"{name}: {ready[5:]}")
    return pid, place


def finish(pid, place):
    with open(os.path.join(place, "go"), "w"):
        pass
    harness.wait_until(lambda: os.path.exists(f"{place}/done"), 10, "the program goes on")
    code = harness.wait_for(pid)
    harness.expect(code == 0, f"the program ended with {code}")


def expect_refused(directory, name, lines, *words, options=()):
    pid, place = begin(directory, name, lines)
    before = harness.state_of(pid)
    result = harness.dump(pid, f"{place}/d", *(option.format(place=place) for option in options))
    harness.expect(result.code == 1, f"{name}: {result}")
    for word in words:
        harness.expect(word in result.text, f"{name}: no \"{word}\" in {result}")
    harness.expect(not os.path.exists(f"{place}/d/inventory.img"), f"{name}: there is an image")
    harness.expect_unharmed(pid, before, f"after the refusal of {name}")
    finish(pid, place)


def expect_saved(directory, name, lines, **options):
    pid, place = begin(directory, name, lines)
    harness.dump_and_reap(pid, f"{place}/d")
    harness.must(harness.restore(f"{place}/d", **options))
    finish(pid, place)


def landlock(directory):
    for name, rules in (("files", "1 << 12, 0, 0"), ("network", "0, 1, 0"), ("signals", "0, 0, 2")):
        for uid in (0, 65534):
            expect_refused(directory, f"landlock-{name}-{uid}", LANDLOCK.format(rules=rules, uid=uid), "Landlock",
                           "run it without")


def keyrings(directory):
    for name, special in (("thread", -1), ("process", -2)):
        expect_refused(directory, name, f"call(KEYCTL, 0, {special}, 1)\n", f"{name} keyring", "user's keyring (@u)")
        expect_refused(directory, f"{name}-filled", ADD.format(where=special), f"{name} keyring")
    expect_refused(directory, "named", "call(KEYCTL, JOIN, b'mcr-test-session')\n", "session keyring",
                   "\"mcr-test-session\"", "run mini-criu inside that session")
    expect_refused(directory, "anonymous", "call(KEYCTL, JOIN, 0)\n" + ADD.format(where=-3), "session keyring",
                   "1 key of its own")


def inherited_session_keyring(directory):
    """A session as a login makes it: without keys, but for a link to those of the user. Or the very session we are in."""
    expect_saved(directory, "login", "call(KEYCTL, JOIN, 0)\ncall(KEYCTL, 8, -4, -3)\n")
    expect_saved(directory, "user", "call(KEYCTL, 0, -3, 0)\n")
    joined = harness.libc.syscall(250, 1, b"mcr-test-ours")
    if joined < 0:
        raise harness.Skip("no keyrings")
    expect_saved(directory, "ours", "")


def foreign_cpu_timer(directory):
    expect_refused(directory, "foreign", "timer((~os.getppid() << 3) | 2, True)\n", "POSIX timer 0", "CPU time of process",
                   str(os.getpid()), "delete that timer")
    expect_saved(directory, "own", "timer((~os.getpid() << 3) | 2, True)\n")


def thread_cpu_timer(directory):
    """Whose clock it is shows only in how the time of an armed timer goes on."""
    thread = ("made = threading.Event()\n"
              "def work():\n    timer(3, {armed})\n    made.set()\n    while not os.path.exists('go'):\n"
              "        time.sleep(0.01)\n"
              "threading.Thread(target=work).start()\nmade.wait()\n")
    expect_refused(directory, "unarmed", thread.format(armed=False), "POSIX timer 0", "cannot be found out",
                   "while the timer is armed")
    expect_saved(directory, "armed", thread.format(armed=True))


def used_up_limits(directory):
    """Without memory or descriptors for a parasite. The remedy in the message is one."""
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_{}, ({}, resource.RLIM_INFINITY))\n"
    size = "int(open('/proc/self/statm').read().split()[0]) * 4096 + 65536"
    expect_refused(directory, "AS", limit.format("AS", size), "RLIMIT_AS", "prlimit --pid", "--as=")
    expect_refused(directory, "DATA", limit.format("DATA", "1 << 16"), "RLIMIT_DATA", "--data=")
    files = "import resource\nopen_files = [os.open('/dev/null', os.O_RDONLY) for _ in range(30)]\n"
    files += "soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
    files += "resource.setrlimit(resource.RLIMIT_NOFILE, (34, hard))\n"  # 0 to 2, 30 more, and one to write "ready" by
    pid, place = begin(directory, "NOFILE", files)
    before = harness.state_of(pid)
    result = harness.dump(pid, f"{place}/d")
    harness.expect(result.code == 1 and "RLIMIT_NOFILE" in result.text, result)
    harness.expect_unharmed(pid, before, "after the refusal")
    remedy = re.search(r"prlimit --pid \d+ --nofile=\S+", result.text)
    harness.expect(remedy, result)
    subprocess.run(remedy.group(0).split(), check=True)
    harness.dump_and_reap(pid, f"{place}/d")
    harness.must(harness.restore(f"{place}/d"))
    finish(pid, place)


def lower_limits(directory):
    """A restore from a shell whose soft limits are lower than what the program has."""
    files = "open_files = [os.open('/dev/null', os.O_RDONLY) for _ in range(500)]\nmemory = bytearray(64 << 20)\n"
    low = ("prlimit", "--nofile=64:", f"--as={200 << 20}:", "--data=50000000:", "--sigpending=0:")
    expect_saved(directory, "lower", files, prefix=low)


def oom_adjustment(directory):
    """One that is lower than that of mini-criu comes back, as long as it is not lower than any was."""
    pid, place = begin(directory, "oom", "open('/proc/self/oom_score_adj', 'w').write('250')\n")
    harness.dump_and_reap(pid, f"{place}/d")
    raised = ("choom", "-n", "700", "--")
    harness.must(harness.restore(f"{place}/d", prefix=raised))
    harness.expect(harness.read(f"/proc/{pid}/oom_score_adj") == "250\n", harness.read(f"/proc/{pid}/oom_score_adj"))
    finish(pid, place)


# The child leaves with its parent: it reads the end of a pipe.
THREAD_OF_CHILD = """
inner, outer = os.pipe()
ends, told = os.pipe()
child = os.fork()
if child == 0:
    os.close(told)
    def sleep():
        os.write(outer, str(threading.get_native_id()).encode())
        threading.Event().wait()
    threading.Thread(target=sleep, daemon=True).start()
    os.read(ends, 1)
    os._exit(0)
os.close(ends)
kept = call(434, int(os.read(inner, 20)), os.O_EXCL)
"""


def thread_pidfd(directory):
    """A pidfd of a single thread, here of a child's (6.9): its process is of the tree, the thread alone is no process."""
    expect_refused(directory, "thread", THREAD_OF_CHILD, "(PIDFD_THREAD)", "close it before the dump")


def thread_namespace(directory):
    """Of a single thread, which keeps working directory and descriptors in common with the others."""
    thread = ("made = threading.Event()\n"
              "def work():\n    call(272, {flag})\n    made.set()\n    while not os.path.exists('go'):\n"
              "        time.sleep(0.01)\n"
              "threading.Thread(target=work).start()\nmade.wait()\n")
    for name, flag in (("uts", 0x04000000), ("ipc", 0x08000000), ("net", 0x40000000), ("cgroup", 0x02000000)):
        expect_refused(directory, name, thread.format(flag=flag), f"another namespace than its process ({name}:[",
                       "no thread is in a namespace of its own")


# It makes its child when the script that is called before the freeze says so.
LATE_CHILD = """
def work():
    while not os.path.exists("fork"):
        time.sleep(0.001)
    if os.fork() == 0:
        libc.unshare(0x04000000)
        open("forked", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.01)
        os._exit(0)
    os.wait()
threading.Thread(target=work).start()
"""


def newcomer(directory):
    """A process that is born between the look and the freeze is looked at too."""
    script = os.path.join(directory, "script")
    with open(script, "w") as stream:
        stream.write(f"#!/bin/sh\n[ $CRTOOLS_SCRIPT_ACTION = pre-dump ] || exit 0\ncd {directory}/late\n"
                     "touch fork\nfor i in $(seq 500); do [ -e forked ] && exit 0; sleep 0.01; done\nexit 1\n")
    os.chmod(script, 0o755)
    expect_refused(directory, "late", LATE_CHILD, "another uts namespace", "nsenter", options=("--action-script", script))


# Its second thread has a timer that has expired, whose signal every thread blocks.
EXPIRED_TIMER = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
made = threading.Event()
def work():
    event, timer = Sigevent(0, signal.SIGUSR1, 0), ctypes.c_void_p()
    assert libc.timer_create(3, ctypes.byref(event), ctypes.byref(timer)) == 0
    assert libc.timer_settime(timer, 0, ctypes.byref((ctypes.c_long * 4)(0, 0, 0, 1000000)), None) == 0
    while signal.SIGUSR1 not in signal.sigpending():
        pass
    made.set()
    while not os.path.exists("go"):
        time.sleep(0.01)
    assert signal.sigtimedwait([signal.SIGUSR1], 0)
threading.Thread(target=work).start()
made.wait()
"""


def expired_cpu_timer(directory):
    """To find out whose clock it measures would take its waiting signal away."""
    expect_refused(directory, "expired", EXPIRED_TIMER, "POSIX timer 0 has expired", "let the program take that signal")


SHARING = """
CLONE_FS, CLONE_FILES, CLONE_PARENT, SIGCHLD, SIGWINCH = 0x200, 0x400, 0x8000, 17, 28
def live():
    while not os.path.exists("done"):
        time.sleep(0.01)
    os._exit(0)
def clone(flags):
    return call(56, flags, 0, 0, 0, 0)
"""


def shared_outside(directory):
    """The child of a child that has ended moves to somebody outside."""
    for flag, what in (("CLONE_FILES", "descriptors"), ("CLONE_FS", "a working directory")):
        lines = (f"if clone({flag} | SIGCHLD) == 0:\n    if clone({flag} | SIGCHLD) == 0:\n        live()\n"
                 "    os._exit(0)\nos.wait()\n")
        expect_refused(directory, flag, SHARING + lines, f"shares {what} with", "outside of the tree")


def shared_unmakeable(directory):
    """The parent has left the table: only one of the children could make the other, who would have its signal."""
    lines = ("for signal in (SIGCHLD, SIGWINCH):\n    if clone(CLONE_FILES | signal) == 0:\n        live()\n"
             "call(272, CLONE_FILES)\n")
    expect_refused(directory, "signals", SHARING + lines, "share descriptors", "different signals")
    expect_saved(directory, "same", SHARING + lines.replace("SIGWINCH", "SIGCHLD"))


harness.cases({
    "thread_namespace": thread_namespace,
    "newcomer": newcomer,
    "expired_cpu_timer": expired_cpu_timer,
    "landlock": landlock,
    "keyrings": keyrings,
    "inherited_session_keyring": inherited_session_keyring,
    "foreign_cpu_timer": foreign_cpu_timer,
    "thread_cpu_timer": thread_cpu_timer,
    "used_up_limits": used_up_limits,
    "lower_limits": lower_limits,
    "oom_adjustment": oom_adjustment,
    "thread_pidfd": thread_pidfd,
    "shared_outside": shared_outside,
    "shared_unmakeable": shared_unmakeable,
})
