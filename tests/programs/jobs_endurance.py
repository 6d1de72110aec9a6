"""Jobs over a long time, for tests/long/jobs: scheduled checkpoints of a busy program, supervisors and programs that are
killed again and again."""

import os
import re
import signal
import time

import harness
import jobs
from harness import expect

# Writes to all of its memory without a pause, and opens and closes files.
BUSY = """
import os
b = bytearray(16 << 20)
while True:
    for i in range(0, len(b), 4096):
        b[i] = (b[i] + 1) % 256
    os.close(os.open("/dev/null", os.O_RDONLY))
"""


def measure(all_jobs, job, pid, supervisor):
    """What may grow, by name; the amounts are bytes or numbers."""
    place = all_jobs.path(job)
    files = [os.path.join(folder, name) for folder, _, names in os.walk(place) for name in names]
    return {
        "memory of the supervisor": int(harness.field(supervisor, "VmRSS").split()[0]) << 10,
        "descriptors of the supervisor": len(os.listdir(f"/proc/{supervisor}/fd")),
        "children of the supervisor": len(harness.read(f"/proc/{supervisor}/task/{supervisor}/children").split()),
        "memory of the program": int(harness.field(pid, "VmRSS").split()[0]) << 10,
        "descriptors of the program": len(os.listdir(f"/proc/{pid}/fd")),
        "mappings of the program": len(harness.read(f"/proc/{pid}/maps").splitlines()),
        "threads of the program": len(os.listdir(f"/proc/{pid}/task")),
        "files of the job": len(files),
        "bytes of the job": sum(os.path.getsize(name) for name in files if os.path.exists(name)),
    }


# How much more is no growth: a checkpoint that is just being made, blocks of an allocator.
MORE = {"memory of the supervisor": 2 << 20, "descriptors of the supervisor": 3, "children of the supervisor": 1,
        "memory of the program": 1 << 20, "descriptors of the program": 1, "mappings of the program": 2,
        "files of the job": 40, "bytes of the job": 60 << 20}


def schedule(directory, count):
    """So many live checkpoints by the clock, --keep 3: nothing grows; prints the pauses."""
    all_jobs = jobs.Jobs(directory)
    all_jobs.must("run", "--id", "busy", "--every", "20ms", "--keep", "3", "--live", "--", "python3", "-c", BUSY)
    first = min(50, count // 2)
    all_jobs.wait_for_checkpoints("busy", first, 120)
    pid, supervisor = all_jobs.job("busy")["pid"], all_jobs.state("busy")["supervisor"]
    before, began = measure(all_jobs, "busy", pid, supervisor), time.monotonic()
    all_jobs.wait_for_checkpoints("busy", count, 60 + 2 * count)
    after = measure(all_jobs, "busy", pid, supervisor)
    log = harness.read(all_jobs.path("busy", "execution.log"))
    found = all_jobs.job("busy")
    all_jobs.end("busy")
    grown = {name: (before[name], after[name]) for name in before if after[name] > before[name] + MORE.get(name, 0)}
    expect(not grown, f"grown between checkpoint {first} and {count}: {grown}")
    expect(found["pid"] == pid and found["last_error"] == "", found)
    expect("failed" not in log and "the supervisor" not in log, log[-2000:])
    stored = os.listdir(all_jobs.path("busy", "checkpoints"))
    expect(3 <= len(stored) <= 4, stored)
    for one in all_jobs.job("busy")["checkpoints"]:
        harness.must(harness.engine("verify", one["folder"]))
    pauses = sorted(float(pause) for pause in re.findall(r"frozen for ([\d.]+) ms", log))
    print(f"{len(pauses)} scheduled live checkpoints of 16 MiB in {time.monotonic() - began:.0f} s: pause "
          f"{pauses[len(pauses) // 2]} ms (median), {pauses[-1]} ms (longest); {before} became {after}")
    harness.no_helpers()


def kill_supervisor(all_jobs, job):
    """False: there was none, or it was somebody else's."""
    pid = int(all_jobs.state(job).get("supervisor", 0))
    if not pid or all_jobs.folder not in harness.read(f"/proc/{pid}/cmdline"):
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    harness.wait_until(lambda: not harness.exists(pid) or harness.field(pid, "State")[:1] == "Z", 10, "its end")
    harness.reap_all()
    return True


def supervisors(directory, count):
    """Killed at so many random moments while it takes checkpoints: the program and its log are those of no disturbance."""
    chance = harness.seeded()
    all_jobs = jobs.Jobs(directory)
    steps = count * 40
    all_jobs.start("train", steps, 0.01, "--every", "30ms", "--keep", "2", "--live", "--rollback-files",
                   out=os.path.join(directory, "out"))
    pid, killed = all_jobs.job("train")["pid"], 0
    while killed < count:
        time.sleep(chance.uniform(0, 0.15))
        killed += kill_supervisor(all_jobs, "train")
        found = all_jobs.job("train")  # it is adopted by this
        expect(found["status"] == "running" and found["pid"] == pid, f"after {killed}: {found}")
        expect(len(os.listdir(f"/proc/{pid}/fd")) <= 5, f"after {killed}: descriptors {os.listdir(f'/proc/{pid}/fd')}")
    taken = all_jobs.state("train")["nextNumber"] - 1
    all_jobs.wait_for_status("train", "finished", 60 + steps // 50)
    all_jobs.expect_undisturbed("train", steps)
    expect(all(name.isdigit() for name in os.listdir(all_jobs.path("train", "checkpoints"))), "remains of checkpoints")
    print(f"{killed} supervisors were killed, {taken} checkpoints were begun meanwhile")
    harness.no_helpers()


def programs(directory, count):
    """A training loop killed so many times at random: its result, its log and its file are those of no disturbance."""
    chance = harness.seeded()
    all_jobs = jobs.Jobs(directory)
    out, steps = os.path.join(directory, "out"), 200 + 60 * count
    all_jobs.start("train", steps, 0.02, "--every", "200ms", "--keep", "3", "--rollback-files", out=out)
    all_jobs.wait_for_checkpoints("train", 2)
    for _ in range(count):
        all_jobs.wait_for_step("train", 3)
        time.sleep(chance.uniform(0, 1.5))
        all_jobs.kill_program("train")
        all_jobs.wait_for_status("train", "killed (KILL)")
        all_jobs.must("resume", "train")
    all_jobs.wait_for_status("train", "finished", 60 + steps // 20)
    all_jobs.expect_undisturbed("train", steps)
    lines = [int(line.split()[0]) for line in harness.read(out).splitlines()]
    expect(lines == list(range(steps)), "lines of the file are missing or repeated")
    print(f"killed {count} times with SIGKILL: {steps} steps, none missing, none repeated")
    harness.no_helpers()
