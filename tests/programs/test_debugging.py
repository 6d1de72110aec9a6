"""`restore --stopped`, `restore --gdb`, `restore --new-pids`: a program at the instruction where it was saved, as often
as wanted, and beside the original."""
# ctest: TIMEOUT 240
# ctest: CASES stopped beside gdb without_gdb tree in_the_way

import os
import re
import socket

import debugger as d
import harness as h

COMMANDS = ["thread apply all bt", "thread apply all info registers rip rsp rbx rax", "x/s private_text", "p steps"]


def instructions(text):
    """(rip, rsp, rbx, rax) of each thread, whatever its number."""
    registers = d.threads_of(d.answers(text, COMMANDS)[COMMANDS[1]])
    return sorted(tuple(line.split()[1] for line in lines) for lines in registers.values())


def stands(pid):
    return all(h.field(f"{pid}/task/{tid}", "State")[:1] == "T" for tid in os.listdir(f"/proc/{pid}/task"))


def restored_pid(images, *more):
    """Restores detached; the pid here."""
    file = os.path.join(images, f"pid-{len(os.listdir(images))}")
    h.must(h.restore(images, "--pidfile", file, *more))
    return int(h.read(file))


def image_of_debugged(directory, *more):
    pid = d.start_debugged(directory)
    images = os.path.join(directory, "images")
    h.must(h.dump(pid, images, *more))
    file = os.path.join(directory, "core")
    h.must(h.engine("core", images, pid, "-o", file))
    return pid, images, instructions(d.gdb([f"{h.WORKLOADS}/debugged-program", file], *COMMANDS))


# Twice from one image, under the same pid: both times at the very instruction, and SIGCONT lets it go on.
def stopped(directory):
    d.require_gdb()
    pid, images, saved = image_of_debugged(directory)
    h.wait_for(pid)
    for round in range(2):
        result = h.must(h.restore(images, "--stopped"))
        h.expect(f"gdb -p {pid}" in h.read(os.path.join(images, "restore.log")), str(result))
        h.wait_until(lambda: stands(pid), 5, "the program to stand")
        for _ in range(2):  # a debugger that leaves it as it is
            text = d.gdb(["-p", pid], *COMMANDS)
            h.expect(instructions(text) == saved, f"round {round}: {instructions(text)} instead of {saved}\n{text}")
            h.expect("private memory" in text, text)
            h.wait_until(lambda: stands(pid), 5, "the program to stand again")
        os.kill(pid, 18)
        h.wait_until(lambda: not h.trouble_of(pid), 5, "the program to run")
        h.kill_and_reap(pid)


# The original lives. Two copies beside it, each in pids of its own.
def beside(directory):
    d.require_gdb()
    pid, images, saved = image_of_debugged(directory, "-R")
    before = h.state_of(pid)
    taken = h.restore(images, "--stopped")
    h.expect(taken.code == 1 and "--new-pids" in h.read(os.path.join(images, "restore.log")), str(taken))
    copies = [restored_pid(images, "--stopped", "--new-pids") for _ in range(2)]
    h.expect(len({pid, *copies}) == 3, f"{copies}")
    for copy in copies:
        h.wait_until(lambda: stands(copy), 5, f"copy {copy} to stand")
        h.expect(h.field(copy, "NSpid").split() == [str(copy), str(pid)], h.field(copy, "NSpid"))
        text = d.gdb(["-p", copy], *COMMANDS)
        h.expect(instructions(text) == saved, f"copy {copy}: {instructions(text)} instead of {saved}\n{text}")
        h.expect("shop::Ledger<shop::Order>::wait" in text, text)
    h.expect_unharmed(pid, before, "with copies beside it")
    os.kill(copies[0], 18)
    h.wait_until(lambda: not h.trouble_of(copies[0]), 5, "a copy to run")
    h.expect(stands(copies[1]), "the other one runs too")
    h.expect_unharmed(pid, before, "with a running copy beside it")
    for one in (*copies, pid):
        os.kill(one, 9)
        h.wait_for(one)
    h.no_helpers()


# gdb in the foreground: what it is asked, in the right place; then it is left, lets go on, or ends the program.
def gdb(directory):
    d.require_gdb()
    pid, images, saved = image_of_debugged(directory)
    h.wait_for(pid)
    script = ["--", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex", "set width 0"]
    ask = [word for command in COMMANDS for word in ("-ex", f"echo ={command}=\\n", "-ex", command)]
    common = ("restore", "-D", images, "-v4", "-o", "restore.log", "--gdb")

    left = h.engine(*common, "-d", *script, *ask, limit=60)
    h.must(left)
    h.expect(instructions(left.output) == saved, f"{instructions(left.output)} instead of {saved}\n{left}")
    h.wait_until(lambda: not h.trouble_of(pid), 5, "the program to go on when gdb has ended")
    h.kill_and_reap(pid)

    ended = h.engine(*common, *script, *ask, "-ex", "kill", limit=60)
    h.must(ended)
    h.expect(not h.exists(pid), "it lives although gdb has ended it")

    # It runs under gdb, without a word of the stop that it came with.
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "debugged.cc")
    line = 1 + next(i for i, text in enumerate(h.read(source).splitlines()) if "for (;;) asm" in text)
    ran = h.engine(*common, "-d", *script, "-ex", f"break debugged.cc:{line}", "-ex", "continue", "-ex", "continue",
                   "-ex", "delete", limit=60)
    h.must(ran)
    h.expect("SIGSTOP, Stopped" not in ran.output and len(re.findall(r"hit Breakpoint 1, ", ran.output)) == 2, ran.output)
    h.wait_until(lambda: not h.trouble_of(pid), 5, "the program to go on")
    h.kill_and_reap(pid)


def without_gdb(directory):
    images = os.path.join(directory, "images")
    pid = h.start([f"{h.WORKLOADS}/counting-loop"], os.path.join(directory, "output"))
    h.dump_and_reap(pid, images)
    result = h.engine("restore", "-D", images, "--gdb", environment={**os.environ, "PATH": directory})
    h.expect(result.code == 1 and "no gdb in PATH: nothing was restored" in result.errors, str(result))
    h.expect(not h.exists(pid), "it was restored")
    for more in (["--exec-cmd", "--", "true"], ["-D", "-"]):
        result = h.engine("restore", "-D", images, "--gdb", *more)
        h.expect(result.code == 2 and "--gdb" in result.errors, str(result))


# A tree: all of it stands, all of it goes on when gdb has ended; in pids of its own all of them are the old ones.
def tree(directory):
    d.require_gdb()
    prefix, images = os.path.join(directory, "state"), os.path.join(directory, "images")
    pid = d.start_workload("tree_family", prefix)
    output = prefix + ".result"
    h.dump_and_reap(pid, images)
    pids = {int(name[5:-4]) for name in os.listdir(images) if name.startswith("core-")}
    copy = restored_pid(images, "--stopped", "--new-pids")
    log = h.read(os.path.join(images, "restore.log"))
    named = {int(p) for p in re.search(r"kill -CONT ([\d ]+)", log).group(1).split()}
    h.expect(copy in named and len(named) > 1, log)
    h.wait_until(lambda: all(stands(p) for p in named), 5, "all of the tree to stand")
    inside = {int(h.field(p, "NSpid").split()[-1]) for p in named}
    h.expect(inside <= pids, f"{inside} and {pids}")
    for p in named:
        os.kill(p, 18)
    os.kill(copy, 15)
    h.wait_until(lambda: "PASS" in h.read(output) or "FAIL" in h.read(output), 20, "the verdict of the program")
    h.expect("PASS" in h.read(output), h.read(output))
    h.wait_for(copy)
    h.no_helpers()


# What a copy cannot have beside its original is named, and nothing was made.
def in_the_way(directory):
    output, images = os.path.join(directory, "output"), os.path.join(directory, "images")
    code = "import socket,time\ns=socket.create_server(('127.0.0.1',0))\nprint(s.getsockname()[1],flush=True)\ntime.sleep(600)"
    pid = h.start(["python3", "-c", code], output)
    port = h.wait_until(lambda: h.read(output).strip(), 20, "the port")
    h.must(h.dump(pid, images, "-R"))
    result = h.restore(images, "--new-pids")
    log = h.read(os.path.join(images, "restore.log"))
    h.expect(result.code == 1 and port in log, f"{result}\n{log}")
    h.no_helpers(pid)
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5):
        pass
    h.kill_and_reap(pid)
    copy = restored_pid(images, "--new-pids")
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5):
        pass
    os.kill(copy, 9)
    h.wait_for(copy)


h.cases({"stopped": stopped, "beside": beside, "gdb": gdb, "without_gdb": without_gdb, "tree": tree,
         "in_the_way": in_the_way})
