"""gdb on a program or on a core of it: what the tests of cores and of `restore --gdb` share."""

import os
import re
import shutil
import subprocess

import harness as h

SOURCE_LINES = re.compile(r"^\d+\t")


def require_gdb():
    if not shutil.which("gdb"):
        raise h.Skip("there is no gdb")


def start_debugged(directory):
    folder = os.path.join(directory, "files")
    os.mkdir(folder)
    pid = h.start([f"{h.WORKLOADS}/debugged-program", folder], os.path.join(directory, "output"))
    h.wait_until(lambda: "READY" in h.read(os.path.join(directory, "output")), 20, "the program to be ready")
    return pid


def start_workload(name, prefix):
    pid = h.start([f"{h.WORKLOADS}/{name}", prefix], prefix + ".out")
    h.wait_until(lambda: "READY" in h.read(prefix + ".ready"), 20, f"{name} to be ready")
    return pid


def gdb(where, *commands, limit=60):
    """What gdb prints, in batch mode, for commands on `where`: ["-p", PID] or [PROGRAM, CORE]."""
    arguments = ["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex", "set width 0", *map(str, where)]
    for command in commands:
        arguments += ["-ex", f"echo ={command}=\\n", "-ex", command]
    arguments += ["-ex", "echo =end=\\n"]
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit)
    return done.stdout + done.stderr


def answers(text, commands):
    """What was printed for each command."""
    found = {}
    for command in commands:
        part = text.partition(f"={command}=\n")[2]
        found[command] = re.split(r"^=.*=$", part, maxsplit=1, flags=re.M)[0].strip()
    return found


def threads_of(text):
    """{lwp: the lines} of a `thread apply all` output."""
    found = {}
    for part in re.split(r"^(?=Thread \d+ \()", text, flags=re.M):
        number = re.match(r"Thread \d+ \((?:Thread \S+ \()?LWP (\d+)", part)
        if number:
            found[int(number.group(1))] = [line for line in part.splitlines()[1:] if line.strip()]
    return found
