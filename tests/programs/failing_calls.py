"""One system call of the engine fails, a different one in every run (strace(1) makes it fail): as on a machine that is
out of memory, descriptors or space, or whose disk is broken. A dump leaves the program unharmed; a restore that fails
leaves nothing behind; both say what was wrong; an image that a dump calls whole is whole."""

import collections
import os
import re
import shutil
import subprocess
import sys
import time

import harness
import soak
from harness import expect

OPTIONS = ("--file-locks", "--link-remap")
# Restored again and again from one image: without connections, whose addresses stay taken for a while, and timers,
# which tell how long they were gone.
KINDS = """
deleted_file epoll_watches event_counters fd_sharing fifo_contents inotify_watches locks_process memfd_descriptors
memory_patterns memory_shared_file pipe_contents posix_queues pty_queues signal_pending sysv_semaphores thread_controls
tree_family tree_pty_session tree_shared_fs tree_unix_sockets unix_messages
""".split()

ERRORS = {
    "EMFILE": "open openat socket pidfd_getfd pidfd_open memfd_create dup dup2 dup3 epoll_create1 timerfd_create "
              "eventfd2 pipe2 socketpair fsmount fsopen open_tree userfaultfd inotify_init1 signalfd4 mq_open accept4",
    "ENOMEM": "mmap mremap unshare statx newfstatat fstat readlink readlinkat recvmsg poll ppoll process_vm_readv "
              "process_vm_writev prctl timer_create shmat shmget semget msgget",
    "EAGAIN": "clone clone3 fork vfork",
    "ENOSPC": "pwrite64 pwritev ftruncate fallocate mkdir mkdirat",
    "EPERM": "kcmp prlimit64 setns sched_setscheduler sched_setattr setpriority capset setresuid setresgid",
}
ERROR_OF = {call: error for error, calls in ERRORS.items() for call in calls.split()}  # of all others: EIO
# These cannot fail, or a failure is an end by other means; ptrace(2), signals and waits fail for the dead only.
NEVER = set("""
exit exit_group execve munmap close close_range futex rt_sigreturn rt_sigprocmask rt_sigaction rt_sigtimedwait brk
restart_syscall arch_prctl set_tid_address set_robust_list rseq getpid gettid getppid getuid geteuid getgid getegid
sched_yield clock_nanosleep nanosleep pause getrandom wait4 waitid ptrace kill tgkill pidfd_send_signal timer_delete
""".split())


def calls_of(arguments, follow, directory):
    """How often each call is made by a run of the engine."""
    log = os.path.join(directory, "calls")
    harness.must(harness.engine(*arguments, prefix=["strace", *follow, "-o", log], limit=60))
    names = (re.match(r"(?:\d+ +)?([a-z]\w*)\(", line) for line in harness.read(log).splitlines())
    return collections.Counter(found.group(1) for found in names if found)


def faults(arguments, follow, directory, chance, most, of):
    """Of each call the first ones, the last ones and some in between, in an order of chance; not those of the loader, which
    come before main()."""
    before, counts = (calls_of(words, follow, directory) for words in (["--version"], arguments))
    chosen = []
    for name, last in sorted(counts.items()):
        first = before[name] + 1
        if name in NEVER or (of and name not in of) or first > last:
            continue
        numbers = {first, first + 1, last - 1, last, (first + last) // 2, *(chance.randint(first, last) for _ in "12")}
        chosen += [(name, number) for number in numbers if first <= number <= last]
    chance.shuffle(chosen)
    return chosen[:most]


def run_failing(arguments, follow, directory, name, number):
    inject = f"inject={name}:error={ERROR_OF.get(name, 'EIO')}:when={number}"
    prefix = ["strace", *follow, "-o", os.path.join(directory, "traced"), "-e", f"trace={name}", "-e", inject]
    try:
        result = harness.engine(*arguments, prefix=prefix, limit=60)
    except harness.Failure as failure:
        raise harness.Failure(f"{inject}: {failure}") from None
    expect(result.code in (0, 1, 2), f"{inject}: {result}")  # 2: a file that was named cannot be opened
    log = os.path.join(arguments[arguments.index("-D") + 1], arguments[arguments.index("-o") + 1])
    expect(result.code == 0 or result.errors.strip() or "Error" in harness.read(log), f"{inject}: without a word")
    return inject, result


class Tree:
    def __init__(self, directory):
        self.work = os.path.join(directory, "work")
        os.mkdir(self.work)
        os.chmod(self.work, 0o777)
        self.pid = harness.start([sys.executable, "-c", soak.ROOT, harness.WORKLOADS, *KINDS],
                                 os.path.join(directory, "out"), cwd=self.work)
        harness.wait_until(lambda: all(harness.read(f"{self.work}/{kind}/state.ready") for kind in KINDS), 60, "ready")
        self.members = soak.tree_of(self.pid)
        self.states = {pid: self.state_of(pid) for pid in self.members}

    def state_of(self, pid):
        state = harness.state_of(pid)
        state.pop("maps", None)  # stacks grow
        state["fds"] = [re.sub(r"\[\d+\]", "[]", line) for line in state.get("fds", [])]  # restored, others
        return state

    def expect_unharmed(self, what):
        expect(soak.tree_of(self.pid) == self.members, f"{what}: the tree is {soak.tree_of(self.pid)}")
        for pid in self.members:

            def trouble():
                return harness.trouble_of(pid) or harness.difference(self.states[pid], self.state_of(pid))

            try:
                harness.wait_until(lambda: not trouble(), 5, "")
            except harness.Failure:
                raise harness.Failure(f"{what}: {pid} is not as it was: {trouble()}") from None

    def expect_gone(self, what):
        """Nothing of it is left, and nobody else has been made."""
        try:
            harness.wait_until(lambda: not any(map(harness.exists, self.members)), 5, "")
        except harness.Failure:
            left = [pid for pid in self.members if harness.exists(pid)]
            raise harness.Failure(f"{what}: {left} are left") from None

    def kill(self):
        for pid in reversed(soak.tree_of(self.pid)):
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        end = time.monotonic() + 10
        while any(map(harness.exists, self.members)) and time.monotonic() < end:
            harness.reap_all()
            time.sleep(0.002)

    def finish(self):
        with open(os.path.join(self.work, "end"), "w"):
            pass
        codes = os.path.join(self.work, "codes")
        harness.wait_until(lambda: harness.read(codes).count("\n") == len(KINDS), 60, "all have ended")
        lost = [line for line in harness.read(codes).splitlines() if not line.endswith(" 0")]
        told = [harness.read(f"{self.work}/{line.split()[0]}/state.result") for line in lost]
        expect(not lost, f"{lost} {told}")


def dump(directory, most, of=()):
    chance, tree = harness.seeded(), Tree(directory)

    def arguments(images):
        return ["dump", "-t", tree.pid, "-D", f"{directory}/{images}", "-o", "dump.log", "-R", *OPTIONS]

    failed, runs = 0, faults(arguments("first"), ["-f"], directory, chance, most, of)
    for name, number in runs:
        what, result = run_failing(arguments("images"), ["-f"], directory, name, number)
        tree.expect_unharmed(f"{what}: {result}")
        folder = os.path.join(directory, "images")
        if result.code == 0:
            harness.must(harness.engine("verify", folder, limit=60))
        else:
            failed += 1
            expect(not os.path.exists(os.path.join(folder, "inventory.img")), f"{what}: it has failed, and left an image")
        shutil.rmtree(folder, ignore_errors=True)
    tree.finish()
    harness.no_helpers()
    print(f"{len(runs)} dumps with a failing call, {failed} have failed; the program was unharmed")


def restore(directory, most, of=()):
    chance, tree = harness.seeded(), Tree(directory)
    images = os.path.join(directory, "images")
    harness.dump_and_reap(tree.pid, images, *OPTIONS, "--no-sync")
    arguments = ["restore", "-D", images, "-d", "-o", "restore.log", "--file-locks"]
    failed, runs = 0, faults(arguments, [], directory, chance, most, of)
    tree.expect_unharmed("restored")
    tree.kill()
    for name, number in runs:
        what, result = run_failing(arguments, [], directory, name, number)
        if result.code == 0:
            tree.expect_unharmed(what)
            tree.kill()
        else:
            failed += 1
            harness.reap_all()
            tree.expect_gone(f"{what}: {result}")
    harness.must(harness.engine(*arguments))
    tree.finish()
    harness.no_helpers()
    print(f"{len(runs)} restores with a failing call, {failed} have failed and left nothing; the last one was right")
