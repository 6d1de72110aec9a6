# ctest: TIMEOUT 90
# ctest: CASES io_uring_ring io_uring_thread io_uring_bound io_uring_files io_uring_eventfd perf_ring bpf_map secret secret_memory userfaultfd packet_ring xdp_ring virtual_processor device aio_poll memfd_open_elsewhere memory_of_an_orphan segment_attached_elsewhere segment_taken huge_pages_missing
"""Memory that cannot be saved: each is refused by its name before the freeze, and the program runs on. Segments and huge
pages that are not to be had at the restore: refused before anything is created."""

import ctypes
import os
import re
import subprocess
import sys

import counting
import harness

VICTIM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "memory_victim.py")


def start(directory, case):
    path, output = os.path.join(directory, "numbers"), os.path.join(directory, "output")
    pid = harness.start([sys.executable, VICTIM, case, path], output)
    said = harness.wait_until(lambda: harness.read(output), 20, "the program is ready")
    if said.startswith("skip"):
        raise harness.Skip(said[5:].strip())
    harness.wait_until(lambda: counting.written(path) > 20, 10, "counting")
    return pid, path, harness.state_of(pid)


def expect_refused(directory, pid, path, before, *patterns):
    images = os.path.join(directory, "images")
    result = harness.dump(pid, images)
    harness.expect(result.code == 1, f"exit code 1 was expected: {result}")
    for pattern in (rf"\b{pid}\b", *patterns):
        harness.expect(re.search(pattern, result.text, re.I), f"/{pattern}/ was expected in the message: {result}")
    harness.expect("; " in result.text, f"there is no remedy: {result}")
    log = harness.read(os.path.join(images, "dump.log"))
    harness.expect("trace:" not in log and "mappings collected" not in log, f"it was frozen before:\n{log}")
    left = [name for name in os.listdir(images) if not name.endswith(".log")]
    harness.expect(not left, f"left in the image folder: {left}")
    harness.no_helpers(pid)
    harness.expect_unharmed(pid, before, "after the refusal")
    counting.expect_progress(path, "after the refusal")
    harness.kill_and_reap(pid)
    counting.expect_consecutive(path)


def refusal(*patterns):
    def test(directory, case):
        expect_refused(directory, *start(directory, case), *patterns)
    return test


REFUSED = {
    "io_uring_ring": refusal("rings of io_uring are known by their descriptors"),
    "io_uring_thread": refusal("IORING_SETUP_SQPOLL"),
    "io_uring_bound": refusal("IORING_SETUP_SINGLE_ISSUER"),
    "io_uring_files": refusal("1 registered files"),
    "io_uring_eventfd": refusal("an eventfd is registered"),
    "perf_ring": refusal("performance event"),
    "bpf_map": refusal("map of BPF"),
    "secret": refusal("memfd_secret"),
    "secret_memory": refusal("memfd_secret"),
    "userfaultfd": refusal("userfaultfd"),
    "packet_ring": refusal("packet or XDP socket"),
    "xdp_ring": refusal("packet or XDP socket"),
    "virtual_processor": refusal("virtual processor of KVM"),
    "device": refusal("/dev/kvm"),
    "aio_poll": refusal("asynchronous I/O", r"fd \d+ pipe:"),
}


def memfd_open_elsewhere(directory):
    pid, path, before = start(directory, "memfd_of_two")
    memfd = [number for number, link in harness.links(pid).items() if link.startswith("/memfd:of two")][0]
    other = subprocess.Popen(["sleep", "60"], stdin=open(f"/proc/{pid}/fd/{memfd}", "rb"))
    harness.expect_unharmed(pid, before, "before")
    result = harness.dump(pid, os.path.join(directory, "images"))
    harness.expect(result.code == 1 and re.search(rf"memfd:of two.*{other.pid} \(sleep\)", result.text), str(result))
    other.kill()
    other.wait()
    harness.must(harness.dump(pid, os.path.join(directory, "images"), "-R"))
    harness.expect_unharmed(pid, before, "after the dump")
    counting.expect_progress(path, "after the dump")


def memory_of_an_orphan(directory):
    pid, path, before = start(directory, "shared_with_an_orphan")
    mappings = harness.read(f"/proc/{pid}/maps")
    orphans = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != pid and
               re.findall(r"\d+ +/dev/zero.*", harness.read(f"/proc/{name}/maps")) ==
               re.findall(r"\d+ +/dev/zero.*", mappings)]
    harness.expect(len(orphans) == 1, f"one orphan was expected: {orphans}")
    result = harness.dump(pid, os.path.join(directory, "images"))
    harness.expect(result.code == 1 and re.search(rf"shared anonymous memory.*{orphans[0]} \(", result.text), str(result))
    harness.expect_unharmed(pid, before, "after the refusal")
    os.kill(orphans[0], 9)
    harness.wait_until(lambda: not harness.read(f"/proc/{orphans[0]}/maps"), 10, "the orphan has ended")
    harness.must(harness.dump(pid, os.path.join(directory, "images"), "-R"))
    counting.expect_progress(path, "after the dump")


# --- System V segments ----------------------------------------------------------------------------------------------

PROGRAM = os.path.join(harness.WORKLOADS, "sysv_segments")


class Segments:
    """A program with segments; they are removed in the end."""

    def __init__(self, directory):
        self.prefix, self.images = os.path.join(directory, "state"), os.path.join(directory, "images")
        self.pid = harness.start([PROGRAM, self.prefix], os.path.join(directory, "output"))
        hints = harness.wait_until(lambda: harness.read(self.prefix + ".ready"), 20, "the program is ready")
        self.ids = [int(line.split()[1]) for line in hints.splitlines() if line.startswith("segment")]

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        harness.end_all_children()
        for number in self.ids:
            harness.libc.shmctl(number, 0, None)


def attached():
    """A process that attaches the segment whose id it reads, says so, and waits."""
    program = ("import ctypes,sys,time;c=ctypes.CDLL(None);c.shmat.restype=ctypes.c_void_p;"
               "print(c.shmat(int(sys.argv[1]),None,0),flush=True);time.sleep(60)")
    return lambda number: subprocess.Popen([sys.executable, "-c", program, str(number)], stdout=subprocess.PIPE)


def segment_attached_elsewhere(directory):
    with Segments(directory) as it:
        other = attached()(it.ids[0])
        other.stdout.readline()
        result = harness.dump(it.pid, it.images)
        harness.expect(result.code == 1 and re.search(rf"segment {it.ids[0]}.*{other.pid} \(python", result.text),
                       str(result))
        other.kill()
        other.wait()
        harness.dump_and_reap(it.pid, it.images)
        other = attached()(it.ids[0])
        other.stdout.readline()
        result = harness.restore(it.images)
        harness.expect(result.code == 1 and re.search(rf"segment {it.ids[0]}.*{other.pid} \(python", result.text),
                       str(result))
        other.kill()
        other.wait()
        # It could have written into it: not overwritten without being told to.
        result = harness.restore(it.images)
        harness.expect(result.code == 1 and re.search(rf"used.*{other.pid}.*ipcrm -m {it.ids[0]}", result.text),
                       str(result))
        harness.expect(harness.libc.shmctl(it.ids[0], 0, None) == 0, "shmctl")
        harness.must(harness.restore(it.images))
        os.kill(it.pid, 15)
        harness.expect(harness.wait_for(it.pid) == 0, harness.read(it.prefix + ".result"))


def segment_taken(directory):
    """Its key, and then its id, have gone to another segment."""
    with Segments(directory) as it:
        keys = [line.split()[0] for line in harness.read("/proc/sysvipc/shm").splitlines()
                if line.split()[1] == str(it.ids[0])]
        harness.dump_and_reap(it.pid, it.images)
        harness.libc.shmctl(it.ids[0], 0, None)
        other = harness.libc.shmget(int(keys[0]), 4096, 0o1600)
        harness.expect(other >= 0, "shmget")
        it.ids.append(other)
        result = harness.restore(it.images)
        harness.expect(result.code == 1 and re.search(rf"segment {it.ids[0]}.*{other}", result.text), str(result))
        harness.expect(not harness.exists(it.pid), "the refused restore left the process")
        harness.expect(harness.libc.shmctl(other, 0, None) == 0, "shmctl")
        with open("/proc/sys/kernel/shm_next_id", "w") as stream:
            stream.write(str(it.ids[0]))
        harness.expect(harness.libc.shmget(0, 999, 0o1600) == it.ids[0], "shmget with that id")
        result = harness.restore(it.images)
        harness.expect(result.code == 1 and re.search(rf"segment {it.ids[0]}.*999 bytes.*another", result.text),
                       str(result))
        harness.expect(harness.libc.shmctl(it.ids[0], 0, None) == 0, "shmctl")
        harness.must(harness.restore(it.images))
        os.kill(it.pid, 15)
        harness.expect(harness.wait_for(it.pid) == 0, harness.read(it.prefix + ".result"))


def huge_pages_missing(directory):
    """Fewer huge pages than the program needs: refused, by number."""
    prefix, images = os.path.join(directory, "state"), os.path.join(directory, "images")
    pid = harness.start([os.path.join(harness.WORKLOADS, "memory_hugetlb"), prefix], os.path.join(directory, "output"))
    said = harness.wait_until(lambda: harness.read(prefix + ".ready") or harness.read(prefix + ".result"), 20, "ready")
    if said.startswith("SKIP"):
        raise harness.Skip(said[5:].strip())
    segment = int(re.search(r"segment (\d+)", said).group(1))
    holder = None
    try:
        harness.dump_and_reap(pid, images)
        harness.libc.shmctl(segment, 0, None)
        program = ("import mmap,sys,time\nheld=[]\ntry:\n while True: held.append(mmap.mmap(-1,2<<20,flags=0x40022))\n"
                   "except OSError: print(len(held),flush=True); time.sleep(60)")
        holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        harness.expect(int(holder.stdout.readline()) > 0, "huge pages could be had")
        result = harness.restore(images)
        harness.expect(result.code == 1 and re.search(r"huge pages of 2048 KiB.*\d+ are needed, 0 can be had", result.text),
                       str(result))
        harness.expect(not harness.exists(pid), "the refused restore left the process")
        holder.kill()
        holder.wait()
        harness.must(harness.restore(images))
        os.kill(pid, 15)
        harness.expect(harness.wait_for(pid) == 0, harness.read(prefix + ".result"))
    finally:
        if holder:
            holder.kill()
        harness.libc.shmctl(segment, 0, None)


def named(case):
    return lambda directory: REFUSED[case](directory, case)


harness.cases({**{case: named(case) for case in REFUSED}, "memfd_open_elsewhere": memfd_open_elsewhere,
               "memory_of_an_orphan": memory_of_an_orphan,
               "segment_attached_elsewhere": segment_attached_elsewhere, "segment_taken": segment_taken,
               "huge_pages_missing": huge_pages_missing})
