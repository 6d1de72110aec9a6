# ctest: TIMEOUT 60
# ctest: CASES exit_code killed passes_signals shell
"""restore without -d stays in the foreground, passes signals on and ends as the program ends."""

import os
import signal
import subprocess
import sys
import time

import harness

PROGRAM = """
import os, signal, sys, time
def seen(number, frame):
    open(sys.argv[1] + ".seen", "a").write(signal.Signals(number).name + chr(10))
signal.signal(signal.SIGUSR1, seen)
signal.signal(signal.SIGHUP, seen)
while not os.path.exists(sys.argv[1] + ".end"):
    time.sleep(0.01)
sys.exit(7)
"""


def dumped(directory):
    prefix, images = os.path.join(directory, "program"), os.path.join(directory, "images")
    pid = harness.start([sys.executable, "-c", PROGRAM, prefix], prefix + ".out")
    time.sleep(0.3)
    harness.dump_and_reap(pid, images)
    return pid, prefix, images


def in_foreground(images):
    return subprocess.Popen([harness.ENGINE, "restore", "-D", images, "-v4", "-o", "restore.log"],
                            stdin=subprocess.DEVNULL)


def running(pid):
    harness.wait_until(lambda: harness.exists(pid) and not harness.trouble_of(pid), 10, "the program runs again")
    time.sleep(0.05)


def exit_code(directory):
    pid, prefix, images = dumped(directory)
    engine = in_foreground(images)
    running(pid)
    harness.expect(engine.poll() is None, "restore did not stay in the foreground")
    open(prefix + ".end", "w").close()
    code = engine.wait(10)
    harness.expect(code == 7, f"exit(7) of the program became {code}")
    harness.no_helpers()


def killed(directory):
    pid, prefix, images = dumped(directory)
    engine = in_foreground(images)
    running(pid)
    os.kill(pid, signal.SIGTERM)
    code = engine.wait(10)
    harness.expect(code in (-signal.SIGTERM, 128 + signal.SIGTERM), f"the program died of SIGTERM; restore gave {code}")
    harness.no_helpers()


def passes_signals(directory):
    pid, prefix, images = dumped(directory)
    engine = in_foreground(images)
    running(pid)
    for name in ("SIGUSR1", "SIGHUP"):
        engine.send_signal(getattr(signal, name))
        harness.wait_until(lambda: name in harness.read(prefix + ".seen"), 5, f"{name} reaches the program")
    harness.expect(engine.poll() is None, "a signal ended restore itself")
    engine.send_signal(signal.SIGTERM)
    code = engine.wait(10)
    harness.expect(code in (-signal.SIGTERM, 128 + signal.SIGTERM), f"SIGTERM gave {code}")
    harness.expect(not harness.exists(pid), "SIGTERM did not reach the program")


def shell(directory):
    """What a shell script sees in $?."""
    pid, prefix, images = dumped(directory)
    script = subprocess.Popen(
        ["sh", "-c", f'"{harness.ENGINE}" restore -D "{images}" -o restore.log; echo "status $?"'],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    running(pid)
    os.kill(pid, signal.SIGTERM)
    output, _ = script.communicate(timeout=10)
    harness.expect("status 143" in output, output)


harness.cases({"exit_code": exit_code, "killed": killed, "passes_signals": passes_signals, "shell": shell})
