# ctest: TIMEOUT 90
# ctest: CASES semaphores_used_since semaphores_taken ids_contended messages_gone queue_filled empty_queue_gone unlinked notified
"""System V semaphores and message queues of both kinds, where a restore would overwrite what others have done since, or
could not give back what was there: refused before anything is created. And what of POSIX queues cannot be saved."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time

import harness

libc = harness.libc


class Workload:
    """A running workload; what it leaves in the kernel is removed in the end."""

    def __init__(self, directory, name):
        self.prefix, self.images = os.path.join(directory, "state"), os.path.join(directory, "images")
        self.pid = harness.start([os.path.join(harness.WORKLOADS, name), self.prefix],
                                 os.path.join(directory, "output"))
        said = harness.wait_until(lambda: harness.read(self.prefix + ".ready") or harness.read(self.prefix + ".result"),
                                  20, "the program is ready")
        if said.startswith("SKIP"):
            raise harness.Skip(said[5:].strip())
        self.ids = [int(line.split()[1]) for line in said.splitlines() if line.startswith("semaphores")]

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        harness.end_all_children()
        for number in self.ids:
            libc.semctl(number, 0, 0)
        for name in ("full", "empty"):
            libc.mq_unlink(self.queue(name))

    def queue(self, name):
        return f"/mini-criu-test-{self.pid}-{name}".encode()

    def dump(self):
        harness.dump_and_reap(self.pid, self.images)
        harness.wait_until(lambda: harness.reap_all() or not harness.children(), 10, "its children have ended too")

    def expect_refused(self, pattern):
        result = harness.restore(self.images)
        harness.expect(result.code == 1 and re.search(pattern, result.text), f"/{pattern}/ was expected: {result}")
        harness.expect(not harness.exists(self.pid), "the refused restore left the process")

    def expect_restored(self):
        harness.must(harness.restore(self.images))
        os.kill(self.pid, signal.SIGTERM)
        harness.expect(harness.wait_for(self.pid) == 0, harness.read(self.prefix + ".result"))


def semaphores_used_since(directory):
    with Workload(directory, "sysv_semaphores") as it:
        it.dump()
        program = ("import ctypes,os,sys;o=(ctypes.c_short*3)(4,2,0);"
                   "sys.exit(ctypes.CDLL(None).semop(int(sys.argv[1]),o,1))")
        other = subprocess.Popen([sys.executable, "-c", program, str(it.ids[0])])
        harness.expect(other.wait() == 0, "semop")
        it.expect_refused(rf"semaphores {it.ids[0]}.*used since.*{other.pid}.*ipcrm -s {it.ids[0]}")
        harness.expect(libc.semctl(it.ids[0], 4, 12) == 2, "the refused restore has changed the value")  # GETVAL
        libc.semctl(it.ids[0], 0, 0)
        it.expect_restored()


def semaphores_taken(directory):
    """The key has gone to another set."""
    with Workload(directory, "sysv_semaphores") as it:
        key = [int(line.split()[0]) for line in harness.read("/proc/sysvipc/sem").splitlines()[1:]
               if line.split()[1] == str(it.ids[0])][0]
        it.dump()
        libc.semctl(it.ids[0], 0, 0)
        other = libc.semget(key, 2, 0o1600)
        harness.expect(other >= 0, "semget")
        it.ids.append(other)
        it.expect_refused(rf"semaphores {it.ids[0]}.*{other}")
        libc.semctl(other, 0, 0)
        it.expect_restored()


def ids_contended(directory):
    """Others make sets all the time, which get the ids that a restore chooses: it tries again, and wins."""
    program = ("import ctypes,signal,time;c=ctypes.CDLL(None);end=[time.monotonic()+30]\n"
               "signal.signal(15,lambda *_:end.clear())\n"
               "while end and time.monotonic()<end[0]:\n i=c.semget(0,1,0o600);c.semctl(i,0,0)\n time.sleep(0.0002)\n")
    with Workload(directory, "sysv_semaphores") as it:
        it.dump()
        for _ in range(5):
            libc.semctl(it.ids[0], 0, 0)
            others = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
            time.sleep(0.1)
            try:
                harness.must(harness.restore(it.images))
            finally:
                for other in others:
                    other.terminate()
                    other.wait()
            harness.end_all_children()
        it.expect_restored()


def messages_gone(directory):
    with Workload(directory, "posix_queues") as it:
        it.dump()
        harness.expect(libc.mq_unlink(it.queue("full")) == 0, "mq_unlink")
        it.expect_refused(r"message queue /mini-criu-test-\d+-full.*3 messages")


def queue_filled(directory):
    with Workload(directory, "posix_queues") as it:
        it.dump()
        queue = libc.mq_open(it.queue("empty"), os.O_RDWR)
        harness.expect(queue >= 0 and libc.mq_send(queue, b"new", 3, 1) == 0, "mq_send")
        it.expect_refused(r"message queue /mini-criu-test-\d+-empty.*holds 1 messages")
        buffer = ctypes.create_string_buffer(100)
        harness.expect(libc.mq_receive(queue, buffer, 100, None) == 3, "the message is not there any more")
        os.close(queue)
        it.expect_restored()


def empty_queue_gone(directory):
    """It is made again, with its limits."""
    with Workload(directory, "posix_queues") as it:
        it.dump()
        harness.expect(libc.mq_unlink(it.queue("empty")) == 0, "mq_unlink")
        it.expect_restored()


def expect_dump_refused(directory, setup, *patterns):
    program = ("import ctypes,os,time;c=ctypes.CDLL(None);name=b'/mini-criu-%d'%os.getpid();"
               "q=c.mq_open(name,os.O_RDWR|os.O_CREAT,0o600,None);assert q>=0;" + setup +
               ";print('ready',flush=True);time.sleep(100)")
    output = os.path.join(directory, "output")
    pid = harness.start([sys.executable, "-c", program], output)
    try:
        harness.wait_until(lambda: "ready" in harness.read(output), 20, "the program is ready")
        before = harness.state_of(pid)
        result = harness.dump(pid, os.path.join(directory, "images"))
        for pattern in patterns:
            harness.expect(result.code == 1 and re.search(pattern, result.text), f"/{pattern}/ was expected: {result}")
        harness.expect_unharmed(pid, before, "after the refusal")
    finally:
        libc.mq_unlink(f"/mini-criu-{pid}".encode())
    harness.kill_and_reap(pid)


def unlinked(directory):
    expect_dump_refused(directory, "c.mq_unlink(name)", r"message queue /mini-criu-\d+ is unlinked")


def notified(directory):
    expect_dump_refused(directory, "e=(ctypes.c_int*16)(0,0,10,0);assert c.mq_notify(q,e)==0", "mq_notify")


harness.cases({case: globals()[case] for case in
               ("semaphores_used_since", "semaphores_taken", "ids_contended", "messages_gone", "queue_filled",
                "empty_queue_gone", "unlinked", "notified")})
