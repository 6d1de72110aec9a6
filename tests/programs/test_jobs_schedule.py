# ctest: TIMEOUT 150
# ctest: CASES after disk_full read_only files changed_files replaced strays survivors restart_ends_survivors foreign many
"""Checkpoints by the clock, and what may stand in their way; files that go back together with the program."""

import base64
import json
import os
import re
import subprocess

import harness
import jobs
from harness import expect


def after(directory):
    """--after stops; resume takes new times; --keep counts."""
    all_jobs = jobs.Jobs(directory)
    all_jobs.start("a", 150, 0.02, "--after", "500ms")
    all_jobs.wait_for_status("a", "stopped", 20)
    expect(all_jobs.steps("a") < 120, all_jobs.steps("a"))
    all_jobs.must("resume", "a", "--after", "0", "--every", "100ms", "--keep", "1")
    all_jobs.wait_for_status("a", "finished", 40)
    all_jobs.expect_undisturbed("a", 150)
    stored = os.listdir(all_jobs.path("a", "checkpoints"))
    expect(len(stored) == 1 and int(stored[0]) > 2, stored)
    harness.no_helpers()


def disk_full(directory):
    """A full disk costs a checkpoint, never the job or the last good image; it goes on when there is space."""
    place = os.path.join(directory, "small")
    os.mkdir(place)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", place]).returncode:
        raise harness.Skip("needs root, to mount a small file system")
    try:
        all_jobs = jobs.Jobs(directory)
        all_jobs.folder = os.path.join(place, "jobs")
        # It prints nothing: what a program itself writes to a full disk is its own affair.
        all_jobs.must("run", "--id", "a", "--every", "100ms", "--keep", "1", "--", "sleep", "1000")
        harness.wait_until(lambda: all_jobs.job("a")["checkpoints"], 20, "a checkpoint")
        filler = os.path.join(place, "filler")
        with open(filler, "ab", buffering=0) as stream:

            def is_told():  # what a checkpoint that fails gives back is taken too
                try:
                    while stream.write(b"x" * 65536):
                        pass
                except OSError:
                    pass
                return "cannot be written: write: ENOSPC" in all_jobs.call("ps").output

            harness.wait_until(is_told, 20, "a word of the full disk in ps")
        found = all_jobs.job("a")
        expect(found["status"] == "running" and found["checkpoints"], found)
        all_jobs.refused("checkpoint", "a", saying="ENOSPC|cannot be written")
        os.unlink(filler)
        harness.wait_until(lambda: not all_jobs.job("a")["last_error"], 20, "the next checkpoint")
        all_jobs.must("stop", "a")
        all_jobs.must("resume", "a", "--every", "0")
        all_jobs.end("a")
        all_jobs.must("rm", "a")
        harness.no_helpers()
    finally:
        harness.end_all_children()
        subprocess.run(["umount", "-l", place], check=True)


def read_only(directory):
    """A folder that cannot be written to any more: nothing can be saved, ps says how it stands, the program runs on."""
    place = os.path.join(directory, "place")
    os.mkdir(place)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "none", place]).returncode:
        raise harness.Skip("needs root, to mount a file system")
    all_jobs = jobs.Jobs(directory)
    all_jobs.folder = os.path.join(place, "jobs")
    try:
        all_jobs.must("run", "--id", "a", "--", "sleep", "1000")
        all_jobs.must("checkpoint", "a")
        with open(all_jobs.path("a", "state.json")) as stream:
            expect("RUNNING" in stream.read(), "not running")
        bind = subprocess.run(["mount", "--bind", place, place])
        expect(bind.returncode == 0, "no bind mount")
        expect(subprocess.run(["mount", "-o", "remount,bind,ro", place]).returncode == 0, "no read-only mount")
        expect(re.search(r"^a .* running", all_jobs.must("ps").output, re.M), all_jobs.call("ps"))
        all_jobs.refused("run", "--id", "b", "true", saying="EROFS")
        subprocess.run(["umount", place], check=True)
        all_jobs.must("stop", "a", "--no-checkpoint")
        all_jobs.refused("run", "--jobs-dir", "/proc/jobs", "true", saying="/proc/jobs")
        harness.no_helpers()
    finally:
        harness.end_all_children()
        subprocess.run(["umount", "-l", place], check=True)


def files(directory):
    """--rollback-files: what a program writes goes back together with it, whatever became of it since."""
    all_jobs = jobs.Jobs(directory)
    out = os.path.join(directory, "results")
    all_jobs.start("a", 120, 0.02, "--rollback-files", out=out)
    all_jobs.wait_for_step("a", 10)
    all_jobs.must("checkpoint", "a")
    lines = harness.read(out).count("\n")
    saved = os.path.getsize(all_jobs.path("a", "checkpoints", "001", "files", "1"))
    all_jobs.wait_for_step("a", lines + 20)
    all_jobs.kill_program("a")
    all_jobs.wait_for_status("a", "killed (KILL)")
    with open(out, "w") as stream:
        stream.write("something else\n")
    with open(all_jobs.path("a", "checkpoints", "001", "files", "1"), "a") as stream:
        stream.write("!")
    all_jobs.refused("resume", "a", saying="another size than it was saved with")
    os.truncate(all_jobs.path("a", "checkpoints", "001", "files", "1"), saved)
    image = all_jobs.path("a", "checkpoints", "001")
    pages = [name for name in os.listdir(image) if name.startswith("pages")][0]
    os.rename(os.path.join(image, pages), os.path.join(image, "away"))
    all_jobs.refused("resume", "a", saying=pages)
    expect(harness.read(out) == "something else\n", "a resume that failed has changed the file")
    os.rename(os.path.join(image, "away"), os.path.join(image, pages))
    all_jobs.must("resume", "a")
    all_jobs.wait_for_step("a", lines + 20)
    all_jobs.must("checkpoint", "a")
    all_jobs.end("a")
    os.unlink(out)
    all_jobs.must("resume", "a")
    all_jobs.wait_for_status("a", "finished")
    all_jobs.expect_undisturbed("a", 120)
    want = [line.split(" ", 1)[1] for line in all_jobs.log("a").splitlines() if line.startswith("step ")]
    expect(harness.read(out).splitlines() == want, "the file repeats or lacks lines")
    harness.no_helpers()


def changed_files(directory):
    """Without it resume says which files have changed, and nothing is changed by trying."""
    all_jobs = jobs.Jobs(directory)
    out = os.path.join(directory, "results")
    all_jobs.start("a", 2000, 0.02, out=out)
    all_jobs.wait_for_step("a", 5)
    all_jobs.must("checkpoint", "a")
    all_jobs.wait_for_step("a", 20)
    all_jobs.end("a")
    all_jobs.wait_for_status("a", "killed (KILL)")
    log, results = all_jobs.log("a"), harness.read(out)
    all_jobs.refused("resume", "a", saying="results")
    expect((log, results) == (all_jobs.log("a"), harness.read(out)), "a resume that was refused has changed files")
    expect("results" in all_jobs.job("a")["last_error"] or "thing" in all_jobs.job("a")["last_error"], all_jobs.job("a"))
    all_jobs.must("resume", "a", "--file-validation", "none")
    all_jobs.end("a")
    expect(log.splitlines()[-1] in harness.read(all_jobs.path("a", "discarded.log")), "output was lost")
    harness.no_helpers()


def replaced(directory):
    """A resume that was killed when it had changed a file: the next one gives back first, also when it fails itself."""
    all_jobs = jobs.Jobs(directory)
    out = os.path.join(directory, "results")
    all_jobs.start("a", 120, 0.02, "--rollback-files", out=out)
    all_jobs.wait_for_step("a", 10)
    all_jobs.must("stop", "a")
    folder = all_jobs.path("a", "replaced")
    os.mkdir(folder)
    with open(os.path.join(folder, "1"), "w") as stream:
        stream.write("what stood there\n")
    with open(os.path.join(folder, "list.json"), "w") as stream:
        json.dump({"files": [{"path": base64.b64encode(out.encode()).decode(), "copy": "1"}]}, stream)
    image = all_jobs.path("a", "checkpoints", "001")
    pages = [name for name in os.listdir(image) if name.startswith("pages")][0]
    os.rename(os.path.join(image, pages), os.path.join(image, "away"))
    all_jobs.refused("resume", "a", saying=pages)
    expect(harness.read(out) == "what stood there\n" and not os.path.exists(folder), harness.read(out)[:200])
    os.rename(os.path.join(image, "away"), os.path.join(image, pages))
    all_jobs.must("resume", "a")
    all_jobs.wait_for_status("a", "finished")
    all_jobs.expect_undisturbed("a", 120)
    harness.no_helpers()


WRAPPER = "sh -c 'while :; do echo inner; sleep 0.05; done' & echo inner is $!; wait"


def start_wrapped(all_jobs, *options):
    """A shell that waits for another; the number of the inner one."""
    all_jobs.must("run", "--id", "a", *options, "--", "sh", "-c", WRAPPER)
    found = harness.wait_until(lambda: re.search(r"inner is (\d+)", all_jobs.log("a")), 10, "its number")
    all_jobs.must("checkpoint", "a")
    return int(found.group(1))


def survivors(directory):
    """What its first process has left behind still runs: no second one is begun beside it, and it is not taken for it."""
    all_jobs = jobs.Jobs(directory)
    inner = start_wrapped(all_jobs)
    all_jobs.kill_program("a")
    all_jobs.wait_for_status("a", "killed (KILL)")
    all_jobs.refused("resume", "a", saying=f"process {inner} of the job still runs")
    expect(all_jobs.job("a")["status"] == "killed (KILL)" and harness.exists(inner), "it was taken for the program")
    os.kill(inner, 9)
    harness.wait_until(lambda: not harness.exists(inner) or harness.field(inner, "State")[:1] == "Z", 10, "its end")
    harness.no_helpers()
    all_jobs.must("resume", "a")
    expect(harness.exists(inner), "the inner one was not restored")
    all_jobs.end("a")
    harness.no_helpers()


def restart_ends_survivors(directory):
    all_jobs = jobs.Jobs(directory)
    inner = start_wrapped(all_jobs, "--restart", "3")
    began = harness.read(f"/proc/{inner}/stat").split()[21]
    all_jobs.kill_program("a")
    harness.wait_until(lambda: all_jobs.job("a")["restarts_used"] == 1 and all_jobs.job("a")["status"] == "running", 20,
                       "the restart")
    expect(harness.read(f"/proc/{inner}/stat").split()[21:22] != [began], "the survivor goes on beside the new one")
    expect(harness.field(inner, "PPid") == str(all_jobs.job("a")["pid"]), "the inner one has another parent")
    all_jobs.end("a")
    harness.no_helpers()


def foreign(directory):
    """What another user's folder says is not done, least of all as root."""
    if os.geteuid() != 0:
        raise harness.Skip("needs root, to make files of another user")
    all_jobs = jobs.Jobs(directory)
    all_jobs.start("a", 60, 0.02)
    all_jobs.wait_for_status("a", "finished")
    state = all_jobs.state("a")
    state["status"] = "STARTING"
    with open(all_jobs.path("a", "state.json"), "w") as stream:
        json.dump(state, stream)
    os.chown(all_jobs.path("a"), 65534, 65534)
    all_jobs.must("ps")
    expect(all_jobs.state("a")["status"] == "STARTING", "a supervisor was begun for it")
    all_jobs.refused("resume", "a", saying="another user's")
    os.chown(all_jobs.path("a"), 0, 0)
    expect("lost" in all_jobs.must("ps").output, "its own user's supervisor has not looked")
    harness.no_helpers()


def strays(directory):
    """A process that has lost its parent would not be in the image: the checkpoint is refused and names it."""
    all_jobs = jobs.Jobs(directory)
    all_jobs.must("run", "--id", "a", "--", "sh", "-c", "(sleep 1000 & echo $!) ; while :; do sleep 0.1; done")
    stray = int(harness.wait_until(lambda: all_jobs.log("a"), 10, "its number"))
    all_jobs.refused("checkpoint", "a", saying=rf"process {stray} \(sleep\) of the job has lost its parent")
    all_jobs.end("a")
    expect(not harness.exists(stray), "it was left over")
    harness.no_helpers()


def many(directory):
    """A hundred live checkpoints of a busy program: nothing grows."""
    all_jobs = jobs.Jobs(directory)
    all_jobs.must("run", "--id", "a", "--every", "1ms", "--keep", "3", "--live", "--", "python3", "-c",
                  "import os\nb = bytearray(4 << 20)\nwhile True:\n for i in range(0, len(b), 4096): b[i] = (b[i] + 1) % 256")
    all_jobs.wait_for_checkpoints("a", 20, 30)
    supervisor = all_jobs.state("a")["supervisor"]
    size = lambda: (int(harness.field(supervisor, "VmRSS").split()[0]), len(os.listdir(f"/proc/{supervisor}/fd")))
    memory, descriptors = size()
    all_jobs.wait_for_checkpoints("a", 120, 60)
    now = size()
    expect(now[0] < memory + 2048 and now[1] <= descriptors + 2, f"the supervisor grew from {memory, descriptors} to {now}")
    log = harness.read(all_jobs.path("a", "execution.log"))
    all_jobs.end("a")
    stored = os.listdir(all_jobs.path("a", "checkpoints"))
    expect(len(stored) <= 4, stored)
    expect("failed" not in log, log[-2000:])
    pauses = [float(found) for found in re.findall(r"frozen for ([\d.]+) ms", log)]
    print(f"{len(pauses)} checkpoints, pause {sorted(pauses)[len(pauses) // 2]} ms (median), {max(pauses)} ms (longest)")
    harness.no_helpers()


harness.cases({"after": after, "disk_full": disk_full, "read_only": read_only, "files": files,
               "changed_files": changed_files, "replaced": replaced, "strays": strays, "survivors": survivors,
               "restart_ends_survivors": restart_ends_survivors, "foreign": foreign, "many": many})
