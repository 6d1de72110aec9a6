# ctest: TIMEOUT 60
# ctest: CASES used refused failing
"""Pages that are made with their content by userfaultfd(2): in use where they can be, done without where the kernel does
not let us, and a restore that fails while they are put there says so and leaves nothing."""

import os
import re
import signal

import harness
from harness import expect

PLACED = re.compile(r"pages of (\d+) mappings are made with their content")


class Case:
    def __init__(self, directory, more=0):
        self.images, self.prefix = os.path.join(directory, "images"), os.path.join(directory, "state")
        self.calls = os.path.join(directory, "calls")
        self.pid = harness.start([os.path.join(harness.WORKLOADS, "memory_placed"), self.prefix, str(more)],
                                 os.path.join(directory, "out"))
        harness.wait_until(lambda: os.path.exists(self.prefix + ".ready"), 20, "ready")
        harness.dump_and_reap(self.pid, self.images, "--no-sync")

    def log(self):
        return harness.read(os.path.join(self.images, "restore.log"))

    def traced(self, *options):
        """Only the engine's first thread."""
        return harness.restore(self.images, prefix=["strace", "-o", self.calls, "-e", "trace=ioctl,pidfd_getfd", *options])

    def number_of(self, call):
        lines = harness.read(self.calls).splitlines()
        ioctls = [line for line in lines if line.startswith("ioctl(")]
        numbers = [number for number, line in enumerate(ioctls, 1) if f", {call}, " in line]
        expect(numbers, f"no {call} among {lines}")
        return numbers[0]

    def finish(self):
        os.kill(self.pid, signal.SIGTERM)
        code = harness.wait_for(self.pid, 20)
        expect(code == 0, f"it ended with {code}: {harness.read(self.prefix + '.result')}")
        harness.no_helpers()


def used(directory):
    case = Case(directory)
    harness.must(harness.restore(case.images))
    found = PLACED.search(case.log())
    # Alone, in a reserve, read-only, alike, of zeros; not the neighbours, nor the one of single pages.
    expect(found and int(found.group(1)) >= 5, case.log())
    case.finish()


def number_in_a_restore(case, call):
    harness.must(case.traced())
    harness.kill_and_reap(case.pid)
    return case.number_of(call)


def refused(directory):
    case = Case(directory)
    number = number_in_a_restore(case, "UFFDIO_API")
    for fault in (f"ioctl:error=EINVAL:when={number}", "pidfd_getfd:error=EPERM"):
        if harness.exists(case.pid):
            harness.kill_and_reap(case.pid)
        harness.must(case.traced("-e", f"inject={fault}"))
        expect("pages come by faults" in case.log() and not PLACED.search(case.log()), f"{fault}: {case.log()}")
    case.finish()


def failing(directory):
    case = Case(directory, 192)  # enough for the thread that is traced to get its share
    number = number_in_a_restore(case, "UFFDIO_COPY")
    result = case.traced("-e", f"inject=ioctl:error=ENOMEM:when={number}+")
    expect(result.code == 1 and "UFFDIO_COPY" in result.errors and "ENOMEM" in result.errors, str(result))
    expect(not harness.exists(case.pid), "a process is left")
    harness.must(harness.restore(case.images))
    case.finish()


if __name__ == "__main__":
    harness.run({"used": used, "refused": refused, "failing": failing}[harness.CASE])
