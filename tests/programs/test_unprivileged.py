# ctest: TIMEOUT 240
# ctest: CASES threads_twice foreground caller_with_the_right file_capability set_user_id refused_by_name first_sleep no_threads killed_restore daemon workloads
"""An ordinary user dumps and restores programs of his own."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time

import counting
import harness

USER = 1000
AS_USER = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"]
RIGHT = "CAP_CHECKPOINT_RESTORE"

# What needs a right of root's, or looks at pids that are others outside; and why.
NOT_FOR_USERS = {
    "credentials_capabilities": "sets capabilities",
    "credentials_user": "changes its user",
    "limits": "raises limits",
    "memory_guard": "has guard pages in shared memory, below which only root can look: refused",
    "tree_process_files": "compares pids in /proc with its own, which differ in a pid namespace",
    "pid_files": "has a pidfd of an ended process, which in a pid namespace of its own is that of a stranger",
    "process_files": "sets its login uid, which nobody sets in a user namespace",
    "namespace_files": "compares namespaces by their numbers, which are new ones where a restore makes them",
    "priority": "sets real-time policies",
    "root_directory": "changes its root",
    "self_image": "asks the kernel for rights over itself",
    "memory_large": "is about speed and size only",
    "tree_forked_pages": "counts pages shared copy-on-write, which CAP_SYS_ADMIN alone can tell",
    "memory_many_mappings": "is about speed and size only",
    "timers_ticking": "is about speed only",
    "memory_deleted_file": "maps a deleted file that no descriptor leads to: refused, see refused_by_name",
    "process_attributes": "is not dumpable: refused, see refused_by_name",
    "process_dumpable": "is not dumpable: refused, see refused_by_name",
    "file_signal_owner": "looks its threads up in the host's /proc by their own numbers",
    "proc_self_files": "compares its own pid with what the host's /proc says",
    "threads_leader_ended": "looks itself up in the host's /proc by its own pid",
    # A sleep that goes on after a restore is not measured by the next dump: its timer stands in /proc/timer_list, which
    # root may read; see first_sleep.
    "blocked_poll": "has a relative time limit",
    "blocked_futex_timeout": "has a relative time limit",
    "blocked_clock_nanosleep_relative": "has a relative time limit",
    "blocked_nanosleep": "has a relative time limit",
    "blocked_nanosleep_remainder": "has a relative time limit",
    "blocked_in_threads": "has relative time limits",
}


FEWEST_FOR_USERS = 84


def engine_for_users(directory):
    """A copy that the user can reach."""
    os.chmod(directory, 0o777)
    path = os.path.join(directory, "mini-criu")
    if not os.path.exists(path):
        shutil.copy(harness.ENGINE, path)
        os.chmod(path, 0o755)
    return path


def dump(directory, pid, images, *more, prefix=AS_USER, program=None):
    return harness.engine("dump", "-t", pid, "-D", images, "-v4", "-o", "dump.log", *more, prefix=prefix,
                          program=program or engine_for_users(directory))


def restore(directory, images, *more, prefix=AS_USER, program=None):
    """Returns the result and the pid as seen from here."""
    pidfile = images + ".pid"
    result = harness.engine("restore", "-D", images, "-d", "-v4", "-o", "restore.log", "--pidfile", pidfile, *more,
                            prefix=prefix, program=program or engine_for_users(directory))
    return result, int(harness.read(pidfile) or 0)


def start(directory, arguments, name="output"):
    """With output files that are the user's, as they would be."""
    os.chmod(directory, 0o777)
    output = os.path.join(directory, name)
    for path in (output, output + ".err"):
        open(path, "w").close()
        os.chown(path, USER, USER)
    return harness.start([*AS_USER, *arguments], output, cwd=directory)  # which the user may search


def start_counting(directory):
    path = os.path.join(directory, "numbers")
    copy = os.path.join(directory, "counting-threads")
    shutil.copy(counting.PROGRAM, copy)
    pid = start(directory, [copy, path])
    harness.wait_until(lambda: counting.written(path) > 50, 10, "counting")
    harness.wait_until(lambda: len(os.listdir(f"/proc/{pid}/task")) == 4, 5, "four threads")
    return pid, path


def numbers_of(pid):
    return [int(number) for number in harness.field(pid, "NSpid").split()]


def expect_no_rights(pid):
    for tid in os.listdir(f"/proc/{pid}/task"):
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            value = harness.field(f"{pid}/task/{tid}", name)
            harness.expect(int(value, 16) == 0, f"thread {tid} has {name} {value}")
        harness.expect(set(harness.field(f"{pid}/task/{tid}", "Uid").split()) == {str(USER)}, "another user")


def dump_to_its_end(directory, pid, images, **options):
    harness.must(dump(directory, pid, images, **options))
    harness.wait_for(pid)
    for name in os.listdir(images):
        mode = os.lstat(os.path.join(images, name)).st_mode
        harness.expect(stat.S_ISREG(mode) and stat.S_IMODE(mode) == 0o600, f"{name} has mode {mode:o}")


def threads_twice(directory):
    """The second dump is of a program in namespaces of its own, seen from outside."""
    pid, path = start_counting(directory)
    own = pid
    for turn in range(3):
        images = os.path.join(directory, f"images-{turn}")
        dump_to_its_end(directory, pid, images)
        harness.no_helpers()
        result, pid = restore(directory, images)
        harness.must(result)
        harness.expect(RIGHT in harness.read(os.path.join(images, "restore.log")), "no word of the namespaces")
        harness.expect(numbers_of(pid) == [pid, own], f"its numbers are {numbers_of(pid)}, not {[pid, own]}")
        expect_no_rights(pid)
        counting.expect_progress(path, f"after restore {turn}")
    harness.kill_and_reap(pid)
    counting.expect_consecutive(path)
    harness.no_helpers()


def foreground(directory):
    program = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda n, f: sys.exit(7))\n" \
              "print('READY', flush=True)\nwhile True: time.sleep(0.01)"
    pid = start(directory, ["/usr/bin/python3", "-c", program])
    harness.wait_until(lambda: "READY" in harness.read(os.path.join(directory, "output")), 20, "READY")
    for turn, sent, expected in ((0, signal.SIGTERM, 7), (1, signal.SIGKILL, -signal.SIGKILL)):
        images = os.path.join(directory, f"images-{turn}")
        if turn == 0:
            harness.must(dump(directory, pid, images))
            harness.wait_for(pid)
        else:
            images = os.path.join(directory, "images-0")
        pidfile = os.path.join(directory, f"pid-{turn}")
        run = subprocess.Popen([*AS_USER, engine_for_users(directory), "restore", "-D", images, "-v4", "-o",
                                "restore.log", "--pidfile", pidfile], stdin=subprocess.DEVNULL)
        inner = int(harness.wait_until(lambda: harness.read(pidfile), 10, "the program is back"))
        time.sleep(0.2)
        harness.expect(run.poll() is None, "restore did not stay in the foreground")
        if sent == signal.SIGKILL:
            os.kill(inner, sent)
        else:
            run.send_signal(sent)
        code = run.wait(10)
        harness.expect(code == expected, f"restore ended with {code}, not with {expected}")
    harness.no_helpers()


def goes_to_its_old_pid(directory, prefix, program=None):
    pid, path = start_counting(directory)
    images = os.path.join(directory, "images")
    dump_to_its_end(directory, pid, images)
    result, now = restore(directory, images, prefix=prefix, program=program)
    if result.code != 0 and "is held by" in result.text:
        raise harness.Skip("the old pid was taken meanwhile")
    harness.must(result)
    harness.expect(now == pid and numbers_of(now) == [pid], f"it was {pid} and is {numbers_of(now)}")
    expect_no_rights(now)
    counting.expect_progress(path, "after the restore")
    harness.kill_and_reap(now)
    counting.expect_consecutive(path)
    harness.no_helpers()


def caller_with_the_right(directory):
    """As systemd's AmbientCapabilities= gives it: no namespaces."""
    goes_to_its_old_pid(directory, ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups",
                                    "--inh-caps", "+checkpoint_restore", "--ambient-caps", "+checkpoint_restore"])


def file_capability(directory):
    """As a package would install it. The program does not get what the file gives."""
    os.chmod(directory, 0o777)
    program = os.path.join(directory, "capable")
    shutil.copy(harness.ENGINE, program)
    os.chmod(program, 0o755)
    if subprocess.run(["setcap", "cap_checkpoint_restore,cap_sys_ptrace,cap_dac_override+ep", program]).returncode != 0:
        raise harness.Skip("file capabilities cannot be set here")
    pid = harness.start(["/usr/bin/python3", "-c", "import time; time.sleep(100)"], os.path.join(directory, "roots"))
    time.sleep(0.2)
    refused = dump(directory, pid, os.path.join(directory, "images-of-root"), program=program)
    harness.expect(refused.code == 1 and "CAP_SYS_PTRACE" in refused.text and "belongs to user 0" in refused.text,
                   str(refused))
    harness.kill_and_reap(pid)
    goes_to_its_old_pid(directory, AS_USER, program)


def set_user_id(directory):
    program = os.path.join(directory, "set-user-id")
    shutil.copy(harness.ENGINE, program)
    os.chmod(program, 0o4755)
    os.chmod(directory, 0o777)
    pid = start(directory, ["/usr/bin/python3", "-c", "import time; time.sleep(100)"])
    time.sleep(0.2)
    result = dump(directory, pid, os.path.join(directory, "images"), program=program)
    harness.expect(result.code == 1 and "set-user-id" in result.text, str(result))
    harness.expect(harness.exists(pid), "the program is gone")


def refused_by_name(directory):
    def expect_refused(pid, *words):
        before = harness.state_of(pid)
        result = dump(directory, pid, os.path.join(directory, "images"), "-R")
        harness.expect(result.code == 1 and all(word in result.text for word in words), str(result))
        harness.expect_unharmed(pid, before, "after a refusal")

    engine_for_users(directory)
    python = ["/usr/bin/python3", "-c"]
    def ready(path):
        harness.wait_until(lambda: os.path.exists(path + ".ready"), 10, path)

    name, other, hidden = (os.path.join(directory, name) for name in ("mapped", "other", "hidden"))
    others = harness.start([*python, "import sys, time; open(sys.argv[1] + '.ready', 'w'); time.sleep(100)", other],
                           other)
    undumpable = start(directory, [*python, "import ctypes, sys, time; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n"
                                            "open(sys.argv[1] + '.ready', 'w'); time.sleep(100)", hidden])
    mapping = start(directory, [*python, "import mmap, os, sys, time; open(sys.argv[1], 'w').write('x' * 4096)\n"
                                         "f = os.open(sys.argv[1], os.O_RDWR); import ctypes; c = ctypes.CDLL(None)\n"
                                         "c.mmap.restype = ctypes.c_void_p; c.mmap(None, 4096, 3, 1, f, 0)\n"
                                         "os.close(f); os.unlink(sys.argv[1]); open(sys.argv[1] + '.ready', 'w')\n"
                                         "time.sleep(100)", name])
    for path in (name, other, hidden):
        ready(path)
    expect_refused(others, "CAP_SYS_PTRACE", "belongs to user 0")
    expect_refused(undumpable, "CAP_SYS_PTRACE", "not dumpable")
    expect_refused(mapping, RIGHT, name)


def no_threads(directory):
    """So many processes and threads are allowed that mini-criu can make none: it does all by itself, or says so."""
    alone = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]  # nobody else is that user
    os.chmod(directory, 0o777)
    path, copy = os.path.join(directory, "numbers"), os.path.join(directory, "counting-threads")
    shutil.copy(counting.PROGRAM, copy)
    pid = harness.start([*alone, copy, path], os.path.join(directory, "output"), cwd=directory)
    harness.wait_until(lambda: counting.written(path) > 50, 10, "counting")
    harness.wait_until(lambda: len(os.listdir(f"/proc/{pid}/task")) == 4, 5, "four threads")
    for name in ("output", "output.err"):
        os.chown(os.path.join(directory, name), 54321, 54321)
    codes = []
    for more in (1, 2, 3, 20):
        images = os.path.join(directory, f"images{more}")
        result = dump(directory, pid, images, "-R", prefix=["prlimit", f"--nproc={4 + more}", *alone])
        codes.append(result.code)
        words = ("EAGAIN", "no thread can be made")
        harness.expect(result.code == 0 or (result.code == 1 and any(word in result.text for word in words)), str(result))
        harness.expect("defect" not in result.text, str(result))
        counting.expect_progress(path, f"with {more} more allowed")
        if result.code == 0:
            harness.must(harness.engine("verify", images))
    harness.expect(codes[-1] == 0, codes)
    print("exit codes with 1, 2, 3 and 20 processes and threads allowed:", codes)


def killed_restore(directory):
    """The engine is killed at any moment: the program is back whole, or nothing is, its namespace included."""
    random = harness.seeded()
    pid, path = start_counting(directory)
    images = os.path.join(directory, "images")
    dump_to_its_end(directory, pid, images)
    size = os.path.getsize(path)
    arguments = [*AS_USER, engine_for_users(directory), "restore", "-D", images, "-d"]
    took = time.monotonic()
    result, now = restore(directory, images)
    took = time.monotonic() - took
    harness.must(result)
    harness.kill_and_reap(now)
    harness.no_helpers()
    back = 0
    for _ in range(25):
        os.truncate(path, size)
        engine = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0, took))
        engine.kill()
        engine.wait()
        time.sleep(0.1)
        whole = [pid for pid in harness.children() if harness.read(f"/proc/{pid}/comm").startswith("counting")
                 and harness.field(pid, "State")[:1] != "Z"]
        for now in whole:
            back += 1
            counting.expect_progress(path, "after a late kill")
            harness.kill_and_reap(now)
        harness.no_helpers()
    counting.expect_consecutive(path)
    print(f"{back} of 25 came too late")


def daemon(directory):
    """A program of another user, with limits, groups and a file that only it may read, by a root without
    CAP_SYS_RESOURCE."""
    os.chmod(directory, 0o777)
    name = os.path.join(directory, "secret")
    program = "import os, resource, sys, time\nresource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))\n" \
              "f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600); os.write(f, b'secret'); os.lseek(f, 3, 0)\n" \
              "open(sys.argv[1] + '.ready', 'w')\nwhile not os.path.exists(sys.argv[1] + '.end'): time.sleep(0.01)\n" \
              "good = os.read(f, 9) == b'ret' and resource.getrlimit(resource.RLIMIT_NOFILE) == (100, 200) and " \
              "os.getgroups() == [7, 65534] and os.getresuid() == (65534,) * 3\nsys.exit(0 if good else 1)"
    pid = harness.start(["setpriv", "--reuid", "65534", "--regid", "65534", "--groups", "7,65534", "/usr/bin/python3",
                         "-c", program, name], os.path.join(directory, "output"))
    harness.wait_until(lambda: os.path.exists(name + ".ready"), 10, "the daemon")
    for turn in range(2):
        images = os.path.join(directory, f"images-{turn}")
        weak = ["setpriv", "--bounding-set", "-sys_resource"]
        harness.must(harness.dump(pid, images, prefix=weak))
        harness.wait_for(pid)
        harness.must(harness.restore(images, prefix=weak))
        harness.expect(harness.field(pid, "Groups").split() == ["7", "65534"], harness.field(pid, "Groups"))
    open(name + ".end", "w").close()
    code = harness.wait_for(pid)
    harness.expect(code == 0, f"it ended with {code}")


SLEEPERS = ("blocked_poll", "blocked_futex_timeout", "blocked_clock_nanosleep_relative", "blocked_nanosleep",
            "blocked_nanosleep_remainder", "blocked_in_threads")


def first_sleep(directory):
    """The remaining time of a sleep that no dump has interrupted before."""
    engine_for_users(directory)
    for name in SLEEPERS:
        # A thread that has run since it was looked at keeps its whole time, of which the log warns: once more then.
        for attempt in range(3):
            place = os.path.join(directory, str(attempt))
            os.makedirs(place, exist_ok=True)
            os.chmod(place, 0o777)
            why = one_workload(place, name, 1)
            log = harness.read(os.path.join(place, name, "images-0", "dump.log"))
            if not why or "cannot be found out" not in log:
                break
        harness.expect(not why or why == "skip", f"{name}: {why}")


def refusal(result):
    """Of what a user may not: the message names the right. Anything else has failed."""
    if result.code == 1 and "CAP_" in result.errors:
        return "refused"
    return str(result) + harness.log_tails(result)


def one_workload(directory, name, turns=2):
    """Returns why it failed, or None."""
    folder = os.path.join(directory, name)
    os.mkdir(folder)
    os.chmod(folder, 0o777)
    prefix = os.path.join(folder, "state")
    program = os.path.join(folder, "program-" + name)
    shutil.copy(os.path.join(harness.WORKLOADS, name), program)
    pid = start(folder, [program, prefix])
    harness.wait_until(lambda: os.path.exists(prefix + ".ready") or harness.read(prefix + ".result"), 60, "READY")
    if harness.read(prefix + ".result").startswith("SKIP"):
        harness.wait_for(pid)
        return "skip"
    hints = harness.read(prefix + ".ready").splitlines()
    rewind = [line[7:] for line in hints if line.startswith("rewind ")]
    options = [line[5:] for line in hints if line.startswith("dump ")]
    gone = ""
    settle = [int(line[7:]) for line in hints if line.startswith("settle ")]
    time.sleep(max([20, *settle]) / 1000)
    for turn in range(turns):
        images = os.path.join(folder, f"images-{turn}")
        began = time.monotonic_ns()
        result = dump(directory, pid, images, *options)
        if result.code != 0:
            return refusal(result)
        harness.wait_for(pid)
        sizes = {path: os.path.getsize(path) for path in rewind}
        middle = time.monotonic_ns()
        for path, size in sizes.items():
            os.truncate(path, size)
        time.sleep(0.2 if settle else 0)
        again = time.monotonic_ns()
        result, pid = restore(directory, images)
        if result.code != 0:
            return refusal(result)
        gone += f"gone {began} {middle} {again} {time.monotonic_ns()}\n"
        time.sleep(0.05)
    with open(prefix + ".pauses", "w") as stream:
        stream.write(gone)
    os.kill(pid, signal.SIGTERM)
    code = harness.wait_for(pid, 20)
    answer = harness.read(prefix + ".result").strip()
    return "" if code == 0 and answer == "PASS" else f"ended with {code}: {answer}"


def remove_ipc(hints):
    """System V objects outlive a program that was refused its restore. The kernel names their last users by pid, and a
    later program with such a pid would be taken for one."""
    kinds = {"segment": "-m", "semaphores": "-s", "queue": "-q"}
    for line in hints.splitlines():
        word, _, number = line.removeprefix("remove_").partition(" ")
        if word in kinds:
            subprocess.run(["ipcrm", kinds[word], number], stderr=subprocess.DEVNULL, check=False)


def workloads(directory):
    """Each passes, or is refused with the name of the right that is missing."""
    engine_for_users(directory)
    failures, passed, refused, skipped = [], [], [], []
    for name in sorted(os.listdir(harness.WORKLOADS)):
        if name in NOT_FOR_USERS or "-" in name:
            continue
        try:
            why = one_workload(directory, name)
        except harness.Failure as failure:
            why = str(failure)
        harness.end_all_children()
        remove_ipc(harness.read(os.path.join(directory, name, "state.ready")))
        {"": passed, "skip": skipped, "refused": refused}.get(why, failures).append(f"{name}: {why}" if why else name)
    print(f"{len(passed)} passed, {len(refused)} were refused by the right that is missing, {len(NOT_FOR_USERS)} are not "
          f"for users, skipped by themselves: {' '.join(skipped)}\nrefused: {' '.join(refused)}")
    harness.expect(not failures, f"{len(failures)} of the workloads:\n" + "\n".join(failures))
    harness.expect(len(passed) >= FEWEST_FOR_USERS, f"only {len(passed)} workloads passed")


if os.geteuid() != 0 or not shutil.which("setpriv"):
    print("SKIPPED: it takes root and setpriv to become another user")
    sys.exit(77)
harness.cases({"threads_twice": threads_twice, "foreground": foreground, "set_user_id": set_user_id,
               "caller_with_the_right": caller_with_the_right, "file_capability": file_capability,
               "refused_by_name": refused_by_name, "first_sleep": first_sleep, "no_threads": no_threads, "killed_restore": killed_restore,
               "daemon": daemon, "workloads": workloads})
