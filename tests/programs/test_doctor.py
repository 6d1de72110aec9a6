# ctest: TIMEOUT 180
# ctest: CASES workloads_0 workloads_1 workloads_2 workloads_3 refused_processes refused_memory refused_files
"""`check -t` and `dump` say the same of every workload, and of the programs of the tests about refusals: what check calls
fine is saved, what it refuses is not. The program notices nothing of it."""

import json
import os
import re
import subprocess
import sys
import time

import harness

HERE = os.path.dirname(os.path.abspath(__file__))
CHUNKS = 4
# What docs/doctor.md says cannot be seen before the freeze, by the words of the dump.
UNSEEN = ("Landlock", "keyring", r"POSIX timer \d+ measures the CPU time of a thread", r"POSIX timer \d+ has expired",
          "another uts namespace")  # the last: of a process that is born between the look and the freeze


def names_of_workloads():
    folder = os.path.join(os.path.dirname(HERE), "workloads")
    return sorted(name[:-3] for name in os.listdir(folder) if name.endswith(".cc"))


def check(pid, *options):
    result = harness.engine("check", "-t", pid, "--json", *options)
    harness.expect(result.code in (0, 1), str(result))
    report = json.loads(result.output)
    harness.expect(report["ok"] == (result.code == 0) == (not report["problems"]), str(result))
    return report


def reasons_of(report):
    return "\n".join(f"{one['object']}: {one['reason']}; {one['remedy']}" for one in report["problems"])


def clean_up(hints):
    for line in hints:
        word, _, number = line.partition(" ")
        kind = word.removeprefix("remove_")
        if kind == "segment":
            harness.libc.shmctl(int(number), 0, None)
        elif kind == "semaphores":
            harness.libc.semctl(int(number), 0, 0)
        elif kind == "queue":
            harness.libc.msgctl(int(number), 0, None)


def settled_state_of(pid):
    """What a program that is about to sleep comes to: its threads block all signals while they are being made."""
    state = harness.state_of(pid)
    for _ in range(40):
        time.sleep(0.02)
        before, state = state, harness.state_of(pid)
        if state == before:
            break
    return state


def compare(directory, name):
    """Returns a line about the workload where the two disagree, else nothing."""
    place = os.path.join(directory, name)
    os.mkdir(place)
    os.chmod(place, 0o777)
    prefix = os.path.join(place, "state")
    pid = harness.start([os.path.join(harness.WORKLOADS, name), prefix], prefix + ".out", cwd=place)
    said = harness.wait_until(lambda: harness.read(prefix + ".ready") or harness.read(prefix + ".result"), 20,
                              f"{name} is ready")
    hints = said.splitlines()[1:]
    options = [line[5:] for line in hints if line.startswith("dump ")]
    try:
        if not said.startswith("READY"):
            return ""
        for line in hints:
            if line.startswith("settle"):
                time.sleep(int(line.split()[1]) / 1000)
        before = settled_state_of(pid)
        report = check(pid, *options)
        harness.expect(harness.field(pid, "TracerPid") == "0", f"{name} is traced")
        if not any(line.startswith("loose") for line in hints):
            changes = harness.difference(before, settled_state_of(pid))
            harness.expect(not changes, f"{name} after the check:\n{changes}")
        result = harness.dump(pid, os.path.join(place, "images"), "--no-sync", *options)
        if report["ok"] != (result.code == 0):
            return f"{name}: check says {report['ok']} ({reasons_of(report)}), dump: {result}"
        return ""
    finally:
        harness.end_all_children()
        clean_up(hints)


def workloads(number):
    def test(directory):
        harness.libc.unshare(0x08000000)  # CLONE_NEWIPC
        os.chmod(directory, 0o777)
        chosen = names_of_workloads()[number::CHUNKS]
        harness.expect(len(chosen) > 20, f"only {len(chosen)} workloads")
        different = [line for line in (compare(directory, name) for name in chosen) if line]
        harness.expect(not different, "\n".join(different))
    return test


def expect_agreement(directory, script, cases):
    """Runs the cases of another test with an engine that asks check first."""
    notes = os.path.join(directory, "notes")
    around = dict(os.environ, MCR_REAL_ENGINE=harness.ENGINE, MCR_DOCTOR_NOTES=notes, MCR_TEST_DIR=directory)
    for case in cases:
        done = subprocess.run([sys.executable, os.path.join(HERE, script), os.path.join(HERE, "doctor_first.py"), case],
                              capture_output=True, text=True, errors="replace", env=around, timeout=120)
        harness.expect(done.returncode in (0, 77), f"{script} {case}: {done.stdout[-3000:]}{done.stderr[-2000:]}")
    lines = harness.read(notes).splitlines()
    harness.expect(any(line.startswith("agree\tdump\t1") for line in lines), f"nothing was refused:\n{lines}")
    wrong = [line for line in lines if line.startswith("DISAGREE") and
             not (line.split("\t")[1:3] == ["dump", "1"] and any(re.search(word, line) for word in UNSEEN))]
    harness.expect(not wrong, "\n".join(wrong))


def refused_processes(directory):
    expect_agreement(directory, "test_refusals_process.py",
                     ("keyrings", "foreign_cpu_timer", "used_up_limits", "thread_pidfd", "thread_namespace",
                      "shared_outside", "shared_unmakeable"))


def refused_memory(directory):
    expect_agreement(directory, "test_refusals_memory.py",
                     ("io_uring_ring", "io_uring_thread", "io_uring_files", "perf_ring", "bpf_map", "secret",
                      "secret_memory", "userfaultfd", "packet_ring", "aio_poll", "memfd_open_elsewhere"))


def refused_files(directory):
    expect_agreement(directory, "test_refusals_ipc.py", ("unlinked", "notified"))


harness.cases({**{f"workloads_{number}": workloads(number) for number in range(CHUNKS)},
               "refused_processes": refused_processes, "refused_memory": refused_memory,
               "refused_files": refused_files})
