# ctest: TIMEOUT 150
# ctest: CASES program_killed supervisor_killed both_killed engine_killed stale_pid gives_up looked_at_while_it_ends
"""Jobs whose program, supervisor or engine is ended with SIGKILL at random moments: the result is that of an undisturbed
run, no line of the log is repeated or missing, and nothing is left over."""

import json
import os
import signal
import subprocess
import time

import harness
import jobs
from harness import expect


def supervisor_of(all_jobs, job):
    """The process that the state names, if it is one of this test's."""
    pid = int(all_jobs.state(job).get("supervisor", 0))
    return pid if pid and all_jobs.folder in harness.read(f"/proc/{pid}/cmdline") else 0


def kill_supervisor(all_jobs, job):
    pid = supervisor_of(all_jobs, job)
    if not pid:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    wait_for_end(pid)
    return True


def wait_for_end(pid):
    """Of an orphan, which is our child."""
    harness.wait_until(lambda: not harness.exists(pid) or harness.field(pid, "State")[:1] == "Z", 10, "its end")
    if pid in harness.children():
        harness.wait_for(pid)


def resume_at_last(all_jobs, job, stopped):
    tried = []

    def is_resumed():
        tried.append(all_jobs.call("resume", job))
        return tried[-1].code == 0

    try:
        harness.wait_until(is_resumed, 20, "resume")
    except harness.Failure as failure:
        raise harness.Failure(f"{failure}\nstop: {stopped}\nat first: {tried[0]}\nat last: {tried[-1]}\n"
                              f"{all_jobs.job(job)}") from None


def program_killed(directory):
    """Killed ten times, it comes back by itself; with checkpoints before, between and after."""
    chance = harness.seeded()
    all_jobs = jobs.Jobs(directory)
    all_jobs.start("train", 500, 0.02, "--every", "200ms", "--keep", "2", "--restart", "100", "--live")
    for kill in range(10):
        all_jobs.wait_for_step("train", 3)
        time.sleep(chance.uniform(0, 0.6))
        if kill == 2:  # killed twice before its first checkpoint, a job has begun twice; from here on it is to go on
            harness.wait_until(lambda: stored_checkpoints(all_jobs, "train"), 20, "a checkpoint")
        # The pause before a restart doubles; what counts here is the way back, so the job is resumed at once.
        all_jobs.kill_program("train")
        if kill >= 2:
            stopped = all_jobs.call("stop", "train", "--no-checkpoint")
            resume_at_last(all_jobs, "train", stopped)
        else:
            harness.wait_until(lambda: all_jobs.job("train")["status"] == "running"
                               and all_jobs.job("train")["restarts_used"] > kill, 20, "the restart")
    all_jobs.wait_for_status("train", "finished", 80)
    all_jobs.expect_undisturbed("train", 500)
    stored = os.listdir(all_jobs.path("train", "checkpoints"))
    expect(len(stored) == 2, f"--keep 2 has left {stored}")
    harness.no_helpers()


def stored_checkpoints(all_jobs, job):
    return [name for name in os.listdir(all_jobs.path(job, "checkpoints")) if name.isdigit()]


def supervisor_killed(directory):
    """Killed again and again while checkpoints are made; the next command finds the program and adopts it."""
    chance = harness.seeded()
    all_jobs = jobs.Jobs(directory)
    all_jobs.start("train", 500, 0.02, "--every", "50ms", "--keep", "2")
    pid = all_jobs.job("train")["pid"]
    killed = 0
    for _ in range(40):
        time.sleep(chance.uniform(0, 0.2))
        killed += kill_supervisor(all_jobs, "train")
        found = all_jobs.job("train")
        if not found["running"]:
            break
        expect(found["status"] == "running" and found["pid"] == pid, found)
    expect(killed >= 10, f"only {killed} supervisors were killed")
    all_jobs.wait_for_status("train", "finished")
    all_jobs.expect_undisturbed("train", 500)
    expect(all(name.isdigit() for name in os.listdir(all_jobs.path("train", "checkpoints"))), "remains of checkpoints")
    harness.no_helpers()


def both_killed(directory):
    """The supervisor is killed while it stops or resumes the job: the job is in one of the two states, whole."""
    chance = harness.seeded()
    all_jobs = jobs.Jobs(directory)
    all_jobs.start("train", 400, 0.02)
    all_jobs.wait_for_step("train", 2)
    seen = set()
    for _ in range(25):
        status = all_jobs.job("train")["status"]
        harness.reap_all()  # an orphan of a supervisor is ours: as a zombie it would keep its number
        if status not in ("running", "stopped"):
            break
        command = {"running": "stop", "stopped": "resume"}[status]
        pid = os.posix_spawn(harness.ENGINE, [harness.ENGINE, command, "--jobs-dir", all_jobs.folder, "train"], os.environ,
                             file_actions=[(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in (0, 1, 2)])
        time.sleep(chance.uniform(0, 0.15))
        kill_supervisor(all_jobs, "train")
        harness.wait_for(pid, 30)
        after = all_jobs.job("train")["status"]
        expect(after in ("running", "stopped", "finished"), f"{command} with its supervisor killed leaves the job {after}: "
               + harness.read(all_jobs.path("train", "execution.log")))
        seen.add((command, after))
    if all_jobs.job("train")["status"] == "stopped":
        harness.reap_all()
        all_jobs.must("resume", "train")
    all_jobs.wait_for_status("train", "finished")
    all_jobs.expect_undisturbed("train", 400)
    expect(len(seen) >= 2, f"only {seen} was seen")
    harness.no_helpers()


def engine_killed(directory):
    """The engine is killed in a scheduled checkpoint: ps tells, the program and the schedule go on."""
    all_jobs = jobs.Jobs(directory)
    all_jobs.start("train", 300, 0.02, "--every", "100ms")
    all_jobs.wait_for_checkpoints("train", 1)
    supervisor = supervisor_of(all_jobs, "train")

    def engine():
        program = all_jobs.state("train").get("pid")
        for pid in harness.read(f"/proc/{supervisor}/task/{supervisor}/children").split():
            if int(pid) != program:
                return int(pid)
        return 0

    killed = 0
    end = time.monotonic() + 20
    while killed < 5 and time.monotonic() < end:
        pid = engine()
        if pid and harness.read(f"/proc/{pid}/cmdline").startswith(harness.ENGINE):
            try:
                os.kill(pid, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                pass
        time.sleep(0.01)
    expect(killed == 5, f"the engine was met {killed} times")
    text = harness.read(all_jobs.path("train", "execution.log"))
    harness.wait_until(lambda: "ended by signal KILL" in harness.read(all_jobs.path("train", "execution.log")), 5,
                       f"a word about it in {text}")
    all_jobs.wait_for_checkpoints("train", all_jobs.state("train")["nextNumber"])
    all_jobs.wait_for_status("train", "finished")
    all_jobs.expect_undisturbed("train", 300)
    harness.no_helpers()


def stale_pid(directory):
    """A state whose pid belongs to somebody else by now: that process is left alone."""
    all_jobs = jobs.Jobs(directory)
    all_jobs.start("train", 500, 0.02)
    all_jobs.wait_for_step("train", 1)
    all_jobs.must("checkpoint", "train")
    program = all_jobs.job("train")["pid"]
    kill_supervisor(all_jobs, "train")
    os.kill(program, signal.SIGKILL)
    wait_for_end(program)
    other = harness.start(["sleep", "1000"], os.path.join(directory, "other"))
    state = all_jobs.state("train")
    state["pid"] = other
    with open(all_jobs.path("train", "state.json"), "w") as stream:
        json.dump(state, stream)
    expect(all_jobs.job("train")["status"] == "lost", all_jobs.job("train"))
    all_jobs.refused("stop", "train", "--no-checkpoint", saying="does not run")
    expect(harness.exists(other) and harness.field(other, "State")[:1] == "S", "the other process was met")
    all_jobs.must("resume", "train")
    all_jobs.end("train")
    harness.kill_and_reap(other)
    harness.no_helpers()


def gives_up(directory):
    """A program that crashes each time is started --restart times more, later each time, and no more."""
    all_jobs = jobs.Jobs(directory)
    all_jobs.must("run", "--id", "crash", "--restart", "2", "--", "sh", "-c", "echo up; kill -SEGV $$")
    harness.wait_until(lambda: "restart 1 of 2" in all_jobs.must("ps").output, 10, "a word of the restart in ps")
    found = all_jobs.wait_for_status("crash", "killed (SEGV)", 20)
    expect(found["restarts_used"] == 2 and found["signal"] == 11, found)
    log = harness.read(all_jobs.path("crash", "execution.log"))
    expect(log.count("started as pid") == 3 and "in 1 s" in log and "in 2 s" in log, log)
    expect(all_jobs.log("crash") == "up\n", "the log of a job that starts anew starts anew")
    harness.no_helpers()


def looked_at_while_it_ends(directory):
    """Whoever has read that a job runs, and finds its supervisor gone a moment later, does not take it for lost."""
    all_jobs = jobs.Jobs(directory)
    go = os.path.join(directory, "go")
    all_jobs.must("run", "--id", "short", "--", "sh", "-c", f"while [ ! -e {go} ]; do sleep 0.02; done")
    look = [harness.ENGINE, "inspect", "--jobs-dir", all_jobs.folder, "short"]
    calls = os.path.join(directory, "calls")
    subprocess.run(["strace", "-o", calls, "-e", "trace=fcntl", *look], stdout=subprocess.DEVNULL, check=True, timeout=20)
    lines = harness.read(calls).splitlines()
    number = next(i for i, line in enumerate(lines, 1) if "F_OFD_SETLK" in line)
    late = subprocess.Popen(["strace", "-o", calls, "-e", "trace=fcntl",
                             "-e", f"inject=fcntl:delay_enter=1000000:when={number}", *look],
                            stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)  # it has read the state, and is about to ask for the supervisor's lock
    with open(go, "w"):
        pass
    said = late.communicate(timeout=20)[0]
    expect("finished" in said, said)
    log = harness.read(all_jobs.path("short", "execution.log"))
    expect("the supervisor had ended" not in log, log)
    expect(all_jobs.job("short")["status"] == "finished", all_jobs.job("short"))
    harness.no_helpers()


harness.cases({"program_killed": program_killed, "supervisor_killed": supervisor_killed, "both_killed": both_killed,
               "engine_killed": engine_killed, "stale_pid": stale_pid, "gives_up": gives_up,
               "looked_at_while_it_ends": looked_at_while_it_ends})
