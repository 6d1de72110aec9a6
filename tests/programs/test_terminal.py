# ctest: TIMEOUT 90
# ctest: CASES same_terminal other_terminal
"""A Python counter on a terminal: dumped with --shell-job from a second terminal, restored in the foreground; it counts
on from the same number, and Ctrl-C ends it."""

import os
import re
import shutil
import subprocess
import sys
import time

import harness

COUNTER = """
import os, sys, time
print("counter has pid", os.getpid(), flush=True)
number = 0
while True:
    print("number", number, flush=True)
    open(sys.argv[1], "a").write(f"{number}" + chr(10))
    number += 1
    time.sleep(0.05)
"""


class Terminals:
    """A tmux server of our own with two windows, each with a plain shell."""

    def __init__(self, directory):
        self.socket = os.path.join(directory, "tmux")
        environment = {**os.environ, "PS1": "$ ", "TERM": "xterm", "HISTFILE": ""}
        environment.pop("TMUX", None)
        for number, command in enumerate((["new-session", "-d", "-s", "t", "-x", "200", "-y", "50"],
                                          ["new-window", "-t", "t:1"])):
            subprocess.run(["tmux", "-f", "/dev/null", "-S", self.socket, *command, "bash --norc --noprofile"],
                           check=True, env=environment, timeout=10)
            self.type(number, f"cd {directory}; PS1='$ '")

    def run(self, *arguments):
        return subprocess.run(["tmux", "-S", self.socket, *arguments], check=True, capture_output=True, text=True,
                              timeout=10).stdout

    def type(self, window, line):
        self.run("send-keys", "-t", f"t:{window}", "-l", line)
        self.run("send-keys", "-t", f"t:{window}", "Enter")

    def key(self, window, key):
        self.run("send-keys", "-t", f"t:{window}", key)

    def screen(self, window):
        return self.run("capture-pane", "-p", "-J", "-S", "-2000", "-t", f"t:{window}")

    def wait(self, window, pattern, seconds=15):
        try:
            return harness.wait_until(lambda: re.search(pattern, self.screen(window), re.M), seconds, pattern)
        except harness.Failure as failure:
            raise harness.Failure(f"{failure}\n--- screen {window}:\n{self.screen(window)[-3000:]}") from None

    def end(self):
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], capture_output=True, timeout=10)


def shown(screen):
    return [int(number) for number in re.findall(r"^number (\d+)$", screen, re.M)]


def round_trip(directory, window):
    if not shutil.which("tmux"):
        raise harness.Skip("tmux is not installed")
    with open(os.path.join(directory, "counter.py"), "w") as stream:
        stream.write(COUNTER)
    terminals = Terminals(directory)
    try:
        log = os.path.join(directory, "numbers")
        terminals.type(0, f"{sys.executable} counter.py {log}")
        pid = int(terminals.wait(0, r"^counter has pid (\d+)$").group(1))
        terminals.wait(0, r"^number 20$")
        terminals.type(1, f"{harness.ENGINE} dump -v4 -o dump.log -t {pid} --shell-job -D d; echo dump gave $?")
        terminals.wait(1, r"^dump gave \d+$")
        harness.expect("dump gave 0" in terminals.screen(1), terminals.screen(1) + harness.read(f"{directory}/d/dump.log")[-4000:])
        terminals.wait(0, r"Killed")
        harness.expect(not harness.exists(pid), "the counter is still there")
        reached = [int(line) for line in harness.read(log).split()][-1]
        terminals.run("clear-history", "-t", "t:0")
        terminals.type(window, "clear")
        time.sleep(0.2)
        terminals.type(window, f"{harness.ENGINE} restore -v4 -o restore.log -D d --shell-job")
        try:
            terminals.wait(window, rf"^number {reached + 20}$")
        except harness.Failure as failure:
            raise harness.Failure(f"{failure}\n{harness.read(f'{directory}/d/restore.log')[-4000:]}") from None
        numbers = shown(terminals.screen(window))
        harness.expect(numbers[0] in (reached, reached + 1), f"it was at {reached} and went on at {numbers[0]}")
        harness.expect(numbers == list(range(numbers[0], numbers[0] + len(numbers))), f"not consecutive: {numbers}")
        harness.expect(harness.exists(pid), "the counter has another pid now")
        terminals.key(window, "C-c")
        terminals.type(window, "echo status is $?")
        terminals.wait(window, r"^status is \d+$")
        harness.expect("status is 130" in terminals.screen(window), terminals.screen(window)[-2000:])
        harness.wait_until(lambda: not harness.exists(pid), 5, "Ctrl-C ends the counter")
        logged = [int(line) for line in harness.read(log).split()]
        harness.expect(logged == list(range(len(logged))), "the numbers written to the file are not consecutive")
    finally:
        terminals.end()


harness.cases({
    "same_terminal": lambda directory: round_trip(directory, 0),
    "other_terminal": lambda directory: round_trip(directory, 1),
})
