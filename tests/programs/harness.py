"""Starting programs, running the engine on them, and looking at them from outside.

A test is a script `test_NAME.py ENGINE CASE`. It exits with 0 (passed), 1 (failed) or 77 (skipped); run() below does
that. Every program that is started here is ended by its pid when the test ends, whatever happens.
"""

import ctypes
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

PR_SET_CHILD_SUBREAPER = 36
ENGINE = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else ""
CASE = sys.argv[2] if len(sys.argv) > 2 else "all"
WORKLOADS = os.environ.get("MCR_WORKLOADS", "")

libc = ctypes.CDLL(None, use_errno=True)

# Whoever runs the tests may have left descriptors open (a pipe of a build server, say); no program here is to inherit
# one, since it would be a part of its state.
for _number in os.listdir("/proc/self/fd"):
    if int(_number) > 2:
        try:
            os.set_inheritable(int(_number), False)
        except OSError:
            pass  # the one of the listing itself


class Failure(Exception):
    pass


class Skip(Exception):
    pass


def expect(condition, message):
    if not condition:
        raise Failure(message)


def read(path, mode="r"):
    try:
        with open(path, mode) as stream:
            return stream.read()
    except OSError:
        return "" if "b" not in mode else b""


def wait_until(condition, seconds, what):
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(0.002)


# --- processes ------------------------------------------------------------------------------------------------------


def children():
    return [int(pid) for pid in read(f"/proc/self/task/{os.getpid()}/children").split()]


def end_all_children():
    """SIGKILL to every child; a child that dies may leave its own children to us."""
    end = time.monotonic() + 5
    while children() and time.monotonic() < end:
        for pid in children():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        reap_all()
        time.sleep(0.002)


def reap_all():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def exists(pid):
    return os.path.exists(f"/proc/{pid}")


def field(pid, name):
    found = re.search(rf"^{name}:\s*(.*)$", read(f"/proc/{pid}/status"), re.M)
    return found.group(1) if found else ""


def start(arguments, output, cwd=None, stdin="/dev/null", environment=None):
    """Starts a program as leader of its own session; returns its pid."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, stdin, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
        (os.POSIX_SPAWN_OPEN, 2, output + ".err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
    ]
    before = os.getcwd()
    if cwd:
        os.chdir(cwd)
    try:
        program = shutil.which(arguments[0]) or arguments[0]
        return os.posix_spawn(program, arguments, environment or os.environ, file_actions=actions, setsid=True)
    finally:
        os.chdir(before)


def wait_for(pid, seconds=10):
    """Waits for a child to end; returns its exit code, or minus the signal."""

    def ended():
        done, status = os.waitpid(pid, os.WNOHANG)
        return [os.waitstatus_to_exitcode(status)] if done else None

    return wait_until(ended, seconds, f"the end of process {pid}")[0]


def kill_and_reap(pid):
    os.kill(pid, signal.SIGKILL)
    return wait_for(pid)


# --- the engine -----------------------------------------------------------------------------------------------------


class Result:
    def __init__(self, command, code, output, errors, took):
        self.command, self.code, self.output, self.errors, self.took = command, code, output, errors, took
        self.text = output + errors

    def __str__(self):
        return f"`{' '.join(self.command)}` ended with {self.code}:\n{self.text}"


def engine(*arguments, limit=20, prefix=(), program=None, environment=None):
    command = [*prefix, program or ENGINE, *map(str, arguments)]
    began = time.monotonic()
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              timeout=limit, env=environment)
    except subprocess.TimeoutExpired as late:
        raise Failure(f"`{' '.join(command)}` took more than {limit} s:\n{late.stdout}{late.stderr}")
    return Result(command, done.returncode, done.stdout, done.stderr, time.monotonic() - began)


def must(result):
    if result.code != 0:
        raise Failure(str(result) + log_tails(result))
    return result


def log_tails(result):
    text = ""
    arguments = list(result.command)
    if "-D" in arguments:
        folder = arguments[arguments.index("-D") + 1]
        for name in ("dump.log", "restore.log"):
            lines = read(os.path.join(folder, name)).splitlines()[-25:]
            if lines:
                text += f"\n--- end of {name}\n" + "\n".join(lines)
    return text


def dump(pid, images, *more, **options):
    return engine("dump", "-t", pid, "-D", images, "-v4", "-o", "dump.log", *more, **options)


def restore(images, *more, **options):
    return engine("restore", "-D", images, "-d", "-v4", "-o", "restore.log", *more, **options)


def dump_and_reap(pid, images, *more):
    """A dump that ends the program, which is our child; those below it become ours when it has ended."""
    result = must(dump(pid, images, *more))
    code = wait_for(pid)
    expect(code == -signal.SIGKILL, f"after the dump the program ended with {code}, not by SIGKILL")
    reap_dumped(images)
    return result


def reap_dumped(images):
    """Of what the dump has ended, what has become a child of ours."""
    for name in os.listdir(images):
        found = re.fullmatch(r"core-(\d+)\.img", name)
        other = int(found.group(1)) if found else 0
        if other in children():
            wait_for(other)


def no_helpers(*expected):
    """Nothing but the expected processes is left of what was started."""

    def none():
        for pid in children():
            if pid not in expected:
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    pass
        return not set(children()) - set(expected)

    try:
        wait_until(none, 5, "")
    except Failure:
        left = [f"{pid} ({read(f'/proc/{pid}/comm').strip()})" for pid in set(children()) - set(expected)]
        raise Failure("left over: " + ", ".join(left)) from None


def run_killed(arguments, after):
    """Runs the engine and sends it SIGKILL after so many seconds."""
    pid = os.posix_spawn(ENGINE, [ENGINE, *map(str, arguments)], os.environ,
                         file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                                       (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
                                       (os.POSIX_SPAWN_DUP2, 1, 2)])
    time.sleep(after)
    os.kill(pid, signal.SIGKILL)
    return wait_for(pid)


# --- what can be seen of a program ----------------------------------------------------------------------------------


def stored_place(pages):
    """Where content lies in this file, pages-PID.img, three quarters of the way through it: not every byte is a page's."""
    folder, name = os.path.split(pages)
    shown = must(engine("show", os.path.join(folder, name.replace("pages-", "mm-")))).output
    runs = [one["message"] for one in json.loads(shown) if one["type"].endswith(".PageRun")]
    places = sorted((int(run["offset"]), int(run["bytes"])) for run in runs if run["source"] == "FILE")
    left = sum(size for _, size in places) * 3 // 4
    for offset, size in places:
        if left < size:
            return offset + left // 4096 * 4096
        left -= size
    raise Failure(f"{pages} holds nothing")


def links(pid):
    found = {}
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(number)] = os.readlink(f"/proc/{pid}/fd/{number}")
        except OSError:
            pass
    return found


def state_of(pid):
    """Mappings, descriptors, masks and threads; what a program that counts does not change by itself."""
    try:
        tasks = sorted(os.listdir(f"/proc/{pid}/task"))
        return {
            "maps": read(f"/proc/{pid}/maps").splitlines(),
            "fds": [f"{number} {link}" for number, link in sorted(links(pid).items())],
            "masks": [f"{tid} {field(f'{pid}/task/{tid}', key)}" for tid in tasks
                      for key in ("SigBlk", "SigIgn", "SigCgt", "SigPnd", "Uid", "CapEff")],
        }
    except OSError:
        return {}


def trouble_of(pid):
    """Why the program cannot be called running and alone; empty when it can."""
    if not exists(pid):
        return "it does not exist"
    try:
        for tid in os.listdir(f"/proc/{pid}/task"):
            state, tracer = field(f"{pid}/task/{tid}", "State"), field(f"{pid}/task/{tid}", "TracerPid")
            if tracer != "0":
                return f"thread {tid} is traced by {tracer}"
            if state[:1] not in "RSD":
                return f"thread {tid} is in state {state}"
    except OSError:
        return "it is ending"
    return ""


def difference(before, after):
    lines = []
    for key in before:
        was, now = before[key], after.get(key, [])
        lines += [f"  - {key}: {line}" for line in was if line not in now]
        lines += [f"  + {key}: {line}" for line in now if line not in was]
    return "\n".join(lines)


def expect_unharmed(pid, before, what, seconds=3):
    end = time.monotonic() + seconds
    while True:
        trouble, changes = trouble_of(pid), difference(before, state_of(pid))
        if not trouble and not changes:
            return
        if time.monotonic() > end:
            raise Failure(f"the program is not as it was, {what}: {trouble}\n{changes}")
        time.sleep(0.002)


# --- running a test -------------------------------------------------------------------------------------------------


def seeded():
    seed = int(os.environ.get("MCR_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed} (MCR_TEST_SEED repeats it)")
    return random.Random(seed)


def run(test):
    """Calls test(directory) in an empty directory of its own."""
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def ended(number, frame):
        raise Failure(f"ended by signal {number}")

    signal.signal(signal.SIGTERM, ended)
    directory = tempfile.mkdtemp(prefix="mcr-test-", dir=os.environ.get("MCR_TEST_DIR"))
    os.chmod(directory, 0o755)
    code = 1
    try:
        test(directory)
        print("PASSED")
        code = 0
    except Skip as reason:
        print(f"SKIPPED: {reason}")
        code = 77
    except Failure as failure:
        print(f"FAILED: {failure}")
    except BaseException:
        traceback.print_exc()
        print("FAILED")
    finally:
        end_all_children()
        if not os.environ.get("MCR_TEST_KEEP"):
            shutil.rmtree(directory, ignore_errors=True)
    sys.stdout.flush()
    sys.exit(code)


def cases(table):
    """Runs the case named on the command line."""
    if CASE not in table:
        print(f"FAILED: there is no case {CASE}")
        sys.exit(1)
    run(table[CASE])
