# ctest: TIMEOUT 150
# ctest: CASES round refusals names signals batch_script unprivileged
"""A job from its start to its removal, and what the commands say to bad input."""

import json
import os
import re
import subprocess

import harness
import jobs
from harness import expect


def round(directory):
    """run, ps, checkpoint, stop, resume, resume from an older checkpoint, logs -f, rm."""
    all_jobs = jobs.Jobs(directory)
    started = all_jobs.start("train", 60, 0.02)
    expect("Job train started" in started.output, started)
    all_jobs.wait_for_step("train", 5)
    first = json.loads(all_jobs.must("checkpoint", "train", "--json").output)
    expect(first["checkpoint"] == 1 and first["bytes"]["image"] > 100_000 and first["times_ms"]["frozen"] > 0, first)
    all_jobs.wait_for_step("train", 10)
    all_jobs.must("stop", "train")
    pid = re.search(r"pid (\d+)", started.output).group(1)
    expect(not harness.exists(pid), "the program runs on after stop")
    table = all_jobs.must("ps").output
    expect(re.search(r"^train +process +- +stopped +2 ", table, re.M), table)
    resumed = all_jobs.must("resume", "train")
    expect(f"goes on from checkpoint 2 (pid {pid})" in resumed.output, resumed)
    followed = all_jobs.must("logs", "-f", "train", limit=40)
    expect(followed.output == all_jobs.log("train") and "result" in followed.output, followed)
    all_jobs.expect_undisturbed("train", 60)
    expect(all_jobs.wait_for_status("train", "finished")["exit_code"] == 0, "no exit code")

    unread = subprocess.run(f"{harness.ENGINE} logs --jobs-dir {all_jobs.folder} -f train | true", shell=True,
                            capture_output=True, text=True, timeout=20)
    expect(unread.stderr == "", unread)
    all_jobs.must("resume", "train", "--from", "1")
    all_jobs.must("logs", "-f", "train", limit=40)
    all_jobs.expect_undisturbed("train", 60)
    expect("result" in harness.read(all_jobs.path("train", "discarded.log")), "what was taken back is kept nowhere")
    all_jobs.must("rm", "train")
    expect(os.listdir(all_jobs.folder) == [".lock"], os.listdir(all_jobs.folder))
    harness.no_helpers()


def refusals(directory):
    all_jobs = jobs.Jobs(directory)
    all_jobs.refused("stop", "nobody", saying="there is no job nobody")
    all_jobs.refused("run", saying="run needs a command", code=2)
    all_jobs.refused("run", "--id", "a/b", "true", saying="cannot be the id", code=2)
    all_jobs.refused("run", "--leave-running", "true", saying="--leave-running is no option of run", code=2)
    all_jobs.refused("run", "--every", "soon", "true", saying="is no time", code=2)
    all_jobs.refused("run", "-w", directory + "/none", "true", saying="there is no folder", code=2)
    all_jobs.refused("run", "--id", "a", "no-such-program", saying="no-such-program: ENOENT")
    expect(not os.path.exists(all_jobs.path("a")), "a job that never ran is left")
    all_jobs.must("run", "--id", "a", "false")
    all_jobs.wait_for_status("a", "failed (status 1)")
    all_jobs.refused("run", "--id", "a", "true", saying="there is a job a already; mini-criu resume a goes on")
    all_jobs.refused("resume", "a", saying="has no checkpoint")
    all_jobs.refused("checkpoint", "a", saying="does not run")
    all_jobs.start("b", 2000, 0.02)
    all_jobs.wait_for_step("b", 1)
    all_jobs.refused("resume", "b", saying="b is running")
    all_jobs.refused("rm", "b", saying="b is running")
    all_jobs.must("checkpoint", "b")
    all_jobs.end("b")
    all_jobs.wait_for_status("b", "killed (KILL)")
    all_jobs.refused("resume", "b", "--from", "7", saying="has no checkpoint 7; it has 1")
    for name in os.listdir(all_jobs.path("b", "checkpoints", "001")):  # every file of the image is damaged
        with open(all_jobs.path("b", "checkpoints", "001", name), "r+b") as stream:
            stream.seek(20)
            stream.write(b"damaged!")
    all_jobs.refused("resume", "b", saying="001|has no checkpoint")
    all_jobs.must("rm", "a", "b")
    harness.no_helpers()


def names(directory):
    """Without --id; a folder whose path no socket's address can hold; words with blanks; the place and the environment."""
    deep = os.path.join(directory, "x" * 120)
    all_jobs = jobs.Jobs(directory)
    all_jobs.folder = os.path.join(deep, "jobs")
    os.mkdir(deep)
    script = "echo \"$PWD|$A|$1|$MINI_CRIU_JOB\"; sleep 100"
    for number in (1, 2):
        result = all_jobs.must("run", "-w", deep, "--env", "A=b c", "--", "sh", "-c", script, "sh", "two  words")
        expect(f"Job sh-{number} started" in result.output, result)
    harness.wait_until(lambda: all_jobs.log("sh-2"), 10, "output")
    expect(all_jobs.log("sh-2") == f"{deep}|b c|two  words|sh-2\n", all_jobs.log("sh-2"))
    all_jobs.must("checkpoint", "sh-2", "--stop")
    all_jobs.must("resume", "sh-2")
    all_jobs.must("ps", "--json")
    for job in ("sh-1", "sh-2"):
        all_jobs.must("stop", job, "--no-checkpoint")
    harness.no_helpers()


def first_line(process):
    """Of its output, and no byte more: communicate() does not know of what was read before."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(process.stdout.fileno(), 1)
        if not byte:
            break
        line += byte
    return line.decode()


def signals(directory):
    """run --follow ends as the program ends, passes signals on, and tells a checkpoint by --on-signal by its status."""
    all_jobs = jobs.Jobs(directory)

    def follow(*words):
        return subprocess.Popen([harness.ENGINE, "run", "--jobs-dir", all_jobs.folder, *words], text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    ended = follow("-f", "--id", "status", "--", "sh", "-c", "echo said; exit 7")
    output, errors = ended.communicate(timeout=20)
    expect((output, ended.returncode) == ("said\n", 7), f"{output} {errors} {ended.returncode}")
    ended = follow("-f", "--id", "passed", "--", "sh", "-c", "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    first = first_line(ended)  # it follows
    ended.terminate()
    output, errors = ended.communicate(timeout=20)
    expect((first, output, ended.returncode) == ("ready\n", "got it\n", 3), f"{output} {errors} {ended.returncode}")

    batch = ("--id", "batch", "--on-signal", "USR1,TERM", "--grace", "60s", "--", "python3", all_jobs.loop, "80", "0.03")
    texts = []
    for run in range(8):
        ended, begun = follow(*batch), ""
        if run < 2:
            begun = first_line(ended)  # it follows
            all_jobs.wait_for_step("batch", 10 + 15 * run)
            ended.send_signal(10 if run == 0 else 15)
        output, errors = ended.communicate(timeout=40)
        texts.append(begun + output)
        if ended.returncode != 85:
            break
    expect(ended.returncode == 0 and run == 2, f"run {run} ended with {ended.returncode}: {output} {errors}")
    all_jobs.expect_undisturbed("batch", 80)
    expect("".join(texts) == all_jobs.log("batch"), f"what was printed to the batch system is not the log: {[(t[:60], t[-60:]) for t in texts]}")
    all_jobs.refused("run", *batch, saying="has finished already")
    harness.no_helpers()


def batch_script(directory):
    """The script of docs/slurm.md, with a queue that is this test: signalled before its walltime, requeued, finished."""
    all_jobs = jobs.Jobs(directory)
    text = harness.read(os.path.join(os.path.dirname(__file__), "..", "..", "docs", "slurm.md"))
    lines = [line[4:] for line in re.search(r"^    #!/bin/bash\n(    .*\n|\n)*", text, re.M).group(0).splitlines()]
    script = "\n".join(lines).replace("python3 train.py", f"python3 {all_jobs.loop} 80 0.03")
    places = {"batch": script.replace("mini-criu run", f"{harness.ENGINE} run"),
              "scontrol": f"#!/bin/sh\necho \"$@\" > {directory}/requeued\n"}
    for name, content in places.items():
        with open(os.path.join(directory, name), "w") as stream:
            stream.write(content)
        os.chmod(os.path.join(directory, name), 0o755)
    environment = {**os.environ, "HOME": directory, "SLURM_JOB_ID": "4711", "PATH": f"{directory}:{os.environ['PATH']}"}
    output = ""
    for run in range(8):
        batch = subprocess.Popen([os.path.join(directory, "batch")], env=environment, text=True, cwd=directory,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if run < 2:
            all_jobs.wait_for_step("4711", 10 + 20 * run)
            batch.send_signal(10)
        output += batch.communicate(timeout=40)[0]
        if not os.path.exists(f"{directory}/requeued"):
            break
        expect(harness.read(f"{directory}/requeued") == "requeue 4711\n", "scontrol was called otherwise")
        os.unlink(f"{directory}/requeued")
    expect(batch.returncode == 0 and run == 2, f"run {run} ended with {batch.returncode}: {output}")
    all_jobs.expect_undisturbed("4711", 80)
    harness.no_helpers()


def unprivileged(directory):
    """An ordinary user's job, resumed in a pid namespace of its own; saved and resumed from there once more."""
    if os.geteuid() != 0:
        raise harness.Skip("needs root, to become another user")
    all_jobs = jobs.Jobs(directory)
    os.chmod(directory, 0o777)
    user = ("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all")

    def call(*words):
        return harness.must(harness.engine(words[0], "--jobs-dir", all_jobs.folder, *words[1:], prefix=user))

    call("run", "--directory", directory, "--id", "a", "--", "python3", all_jobs.loop, 100, 0.03)
    all_jobs.wait_for_step("a", 5)
    for round_number in (1, 2):
        call("stop", "a")
        call("resume", "a")
        all_jobs.wait_for_step("a", 10 + 20 * round_number)
    result = call("logs", "-f", "a")
    expect("result" in result.output, result)
    all_jobs.expect_undisturbed("a", 100)
    harness.wait_until(lambda: "finished" in call("ps").output, 10, "finished")
    harness.no_helpers()


harness.cases({"round": round, "refusals": refusals, "names": names, "signals": signals, "batch_script": batch_script,
               "unprivileged": unprivileged})
