# ctest: TIMEOUT 150
# ctest: CASES spellings push push_leaves push_fails standby watch resume_script other_host
"""Jobs under the names that other tools have for them, and jobs that leave their host: images handed on and taken in."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import harness
import jobs
from harness import expect


def spellings(directory):
    """exec -i ID -w DIR CMD, dump job ID -d DIR --stream N, restore job ID."""
    all_jobs = jobs.Jobs(directory)
    place = os.path.join(directory, "place")
    os.mkdir(place)
    started = all_jobs.must("exec", "-i", "train", "-w", place, "python3", all_jobs.loop, "150", "0.02")
    pid = int(re.search(r"Job train started \(pid (\d+)\)", started.output).group(1))
    expect(os.readlink(f"/proc/{pid}/cwd") == place, "it runs elsewhere")
    all_jobs.wait_for_step("train", 3)
    image = os.path.join(directory, "image")
    kept = all_jobs.must("dump", "job", "train", "-d", image, "--stream", "3", "-R")
    expect(harness.exists(pid) and f"Checkpoint 1 of train in {image}:" in kept.output, kept)
    shutil.rmtree(image)  # its own job does not miss it
    dumped = all_jobs.must("dump", "job", "train", "-d", image, "--stream", "4")
    line, figures = dumped.output.splitlines()[:2]
    expect(line.startswith(f"Checkpoint 2 of train in {image}: "), dumped)
    figures = json.loads(figures)
    expect({"look", "freeze", "frozen", "gpu", "files", "total"} <= set(figures["times_ms"])
           and figures["times_ms"]["total"] >= figures["times_ms"]["frozen"] > 0, figures)
    names = os.listdir(image)
    sizes = [os.path.getsize(f"{image}/img-{number}.lz4") for number in range(4)]
    expect({"stats-dump.img", "dump.log"} <= set(names) or {"stats-dump", "dump.log"} <= set(names), names)
    expect(min(sizes) > 0 and "img-4.lz4" not in names, sizes)
    whole = sum(os.path.getsize(f"{image}/{name}") for name in names)
    expect(figures["bytes"]["image"] <= whole < figures["bytes"]["image"] + 300_000, f"{figures} {whole}")
    expect(not harness.exists(pid) and all_jobs.job("train")["status"] == "stopped", "it was not ended")
    expect([one["number"] for one in all_jobs.job("train")["checkpoints"]] == [2], all_jobs.job("train"))
    restored = all_jobs.must("restore", "job", "train")
    expect(f"goes on from checkpoint 2 (pid {pid})" in restored.output, restored)
    all_jobs.wait_for_status("train", "finished")
    all_jobs.expect_undisturbed("train", 150)
    all_jobs.must("rm", "train")
    harness.must(harness.engine("verify", image))  # a folder of the user's stays

    all_jobs.start("other", 1000, 0.02)
    all_jobs.wait_for_step("other", 1)
    all_jobs.refused("dump", "job", "other", "-d", image, saying="is not an empty folder")
    all_jobs.refused("dump", "job", "other", "-d", directory + "/no/image", saying="does not exist", code=2)
    all_jobs.refused("dump", "job", "nobody", saying="there is no job nobody")
    all_jobs.end("other")
    harness.no_helpers()


def push(directory):
    """Every checkpoint goes to the command; a slow one holds up neither the next checkpoint nor the program."""
    all_jobs = jobs.Jobs(directory)
    backup = os.path.join(directory, "backup")
    os.mkdir(backup)
    copy = os.path.join(directory, "copy")
    with open(copy, "w") as stream:
        stream.write(f"#!/bin/sh\nsleep 0.3\ncp -r \"$2\" \"$1/$MINI_CRIU_CHECKPOINT.part\" && "
                     f"mv \"$1/$MINI_CRIU_CHECKPOINT.part\" \"$1/$MINI_CRIU_CHECKPOINT\"\n"
                     f"echo $MINI_CRIU_JOB $MINI_CRIU_IMAGE $(id -u) >> $1/said\n[ -z \"$MINI_CRIU_TOKEN\" ]\n")
    os.chmod(copy, 0o755)
    all_jobs.start("train", 1000, 0.02, "--push", f"{copy} {backup}")
    all_jobs.wait_for_step("train", 2)
    for number in (1, 2):
        began = time.monotonic()
        all_jobs.must("checkpoint", "train")
        expect(time.monotonic() - began < 10, "the checkpoint has waited")
    all_jobs.must("stop", "train")
    harness.wait_until(lambda: {"1", "2", "3"} <= set(os.listdir(backup)), 20, f"three images in {os.listdir(backup)}")
    for number in (1, 2, 3):
        harness.must(harness.engine("verify", f"{backup}/{number}"))
    said = harness.wait_until(lambda: len(harness.read(f"{backup}/said").splitlines()) == 3 and harness.read(f"{backup}/said"),
                              10, "all that was said")
    expect(f"train {all_jobs.path('train', 'checkpoints', '002')} {os.geteuid()}\n" in said, said)
    harness.wait_until(lambda: all_jobs.job("train")["pushed"] == 3, 10, "a word of the last push")
    expect(all_jobs.job("train")["push_error"] == "", all_jobs.job("train"))
    expect("could not be pushed" not in all_jobs.must("ps").output, "a push has failed")
    all_jobs.must("rm", "train")
    harness.no_helpers()


def push_leaves(directory):
    """Of an image elsewhere the command gets the folder and no link; a daemon that it leaves is none of the program's."""
    all_jobs = jobs.Jobs(directory)
    backup, elsewhere = os.path.join(directory, "backup"), os.path.join(directory, "elsewhere")
    os.mkdir(backup)
    copy = os.path.join(directory, "copy")
    with open(copy, "w") as stream:
        stream.write(f"#!/bin/sh\ncp -r \"$1\" {backup}/$MINI_CRIU_CHECKPOINT\nsetsid sleep 300 < /dev/null > /dev/null 2>&1 &\n")
    os.chmod(copy, 0o755)
    all_jobs.start("train", 1000, 0.02, "--push", copy)
    all_jobs.wait_for_step("train", 2)
    all_jobs.must("checkpoint", "train", "--into", elsewhere)
    harness.wait_until(lambda: all_jobs.job("train")["pushed"] == 1, 20, "one push")
    expect(os.path.isdir(f"{backup}/1") and not os.path.islink(f"{backup}/1"), os.listdir(backup))
    harness.must(harness.engine("verify", f"{backup}/1"))
    all_jobs.must("checkpoint", "train")
    harness.wait_until(lambda: all_jobs.job("train")["pushed"] == 2, 20, "another one")
    all_jobs.must("stop", "train")
    all_jobs.wait_for_status("train", "stopped")


def push_fails(directory):
    """A command that fails, is not there or hangs: ps says so, the job and its checkpoints go on."""
    all_jobs = jobs.Jobs(directory)
    all_jobs.start("train", 5000, 0.02, "--push", "ls /nowhere/{}")
    all_jobs.wait_for_step("train", 1)
    all_jobs.must("checkpoint", "train")
    harness.wait_until(lambda: "checkpoint 1 could not be pushed: status 2" in all_jobs.must("ps").output, 10,
                       "a word of the push in ps")
    text = harness.read(all_jobs.path("train", "push.log"))
    expect("/nowhere/" + all_jobs.path("train", "checkpoints", "001") in text, text)
    all_jobs.must("stop", "train")
    all_jobs.must("resume", "train", "--push", "no-such-command --all")
    all_jobs.must("checkpoint", "train")
    harness.wait_until(lambda: "checkpoint 3 could not be pushed: status 127" in all_jobs.must("ps").output, 10, "status 127")
    expect("no-such-command" in harness.read(all_jobs.path("train", "push.log")), "no reason")
    all_jobs.must("stop", "train")
    # It ignores all signals but one, and so does what it starts.
    all_jobs.must("resume", "train", "--push", "sh -c trap${IFS}''${IFS}TERM;sleep${IFS}1000", "--push-timeout", "700ms",
                  "--every", "100ms")
    harness.wait_until(lambda: "not done within 1 s" in all_jobs.must("ps").output, 20, "the end of its time in ps")
    before = all_jobs.state("train")["nextNumber"]
    all_jobs.wait_for_checkpoints("train", before + 2)
    all_jobs.must("stop", "train", "--no-checkpoint")
    all_jobs.wait_for_status("train", "killed (KILL)")
    all_jobs.call("stop", "train", "--no-checkpoint")  # what is still to be pushed is given up
    harness.no_helpers()


def standby(directory):
    """Host A hands its images on and dies; host B goes on from the last one, with its log and its files."""
    here, there = jobs.Jobs(directory), jobs.Jobs(directory)
    there.folder = os.path.join(directory, "jobs-of-b")
    received = os.path.join(directory, "received")
    os.mkdir(received)
    out = os.path.join(directory, "out")
    here.start("train", 200, 0.02, "--rollback-files", "--push", f"cp -r {{}} {received}/", out=out)
    here.wait_for_step("train", 5)
    here.must("checkpoint", "train")
    here.wait_for_step("train", 20)
    here.must("checkpoint", "train")
    harness.wait_until(lambda: here.job("train")["pushed"] == 2, 10, "two pushes")
    here.wait_for_step("train", 30)
    here.end("train")
    here.wait_for_status("train", "killed (KILL)")
    log = here.log("train")
    shutil.rmtree(here.folder)  # with its host
    resumed = there.must("resume", "--from", f"{received}/002/")
    expect("Job train goes on from checkpoint 2" in resumed.output, resumed)
    there.wait_for_step("train", 5)
    there.must("checkpoint", "train")
    there.must("stop", "train")
    there.must("resume", "train")
    found = there.wait_for_status("train", "finished")
    expect([one["number"] for one in found["checkpoints"]] == [2, 3, 4], found)
    alone = subprocess.run(["python3", there.loop, "200", "0"], capture_output=True, text=True, timeout=30).stdout
    first = int(re.match(r"step (\d+) ", there.log("train")).group(1))
    expect(20 <= first <= 31 and alone.endswith(there.log("train")) and alone.startswith(log[:-20]),
           f"the log here goes on with {there.log('train')[:60]}")
    expect(len(harness.read(out).splitlines()) == 200, "the file has lines too many or too few")
    there.refused("resume", "--from", f"{received}/002", saying="there is a job train already")
    there.must("resume", "--from", f"{received}/001", "--id", "again")
    there.wait_for_status("again", "finished")
    expect(alone.endswith(there.log("again")) and "step 20 " in there.log("again"), there.log("again")[:60])
    there.refused("resume", "--from", directory, saying="inventory|image")
    there.refused("resume", "train", "--id", "x", saying="--id is about an image", code=2)
    harness.no_helpers()


def watch(directory):
    all_jobs = jobs.Jobs(directory)
    all_jobs.start("train", 1000, 0.02)
    for words in (("--watch=100ms",), ("--watch", "100ms"), ("--json", "--watch", "100ms")):
        watched = subprocess.Popen([harness.ENGINE, "ps", "--jobs-dir", all_jobs.folder, *words], text=True,
                                   stdout=subprocess.PIPE)
        lines = [watched.stdout.readline() for _ in range(6)]
        watched.terminate()
        watched.communicate(timeout=10)
        if "--json" in words:
            expect(all(json.loads(line)["jobs"][0]["id"] == "train" for line in lines), lines)
        else:
            expect(lines[0].startswith("JOB ID") and lines[1].startswith("train ") and lines[2] == "\n"
                   and lines[3] == lines[0] and "running" in lines[4], lines)
    all_jobs.refused("ps", "train", saying="ps takes no operand", code=2)
    all_jobs.refused("ps", "--watch=soon", saying="is no time", code=2)
    all_jobs.end("train")
    harness.no_helpers()


def resume_script(directory):
    """One line in the job's folder, to be called from anywhere, with what resume takes."""
    all_jobs = jobs.Jobs(directory)
    all_jobs.folder = os.path.join(directory, "it's $here")
    all_jobs.start("train", 60, 0.02)
    all_jobs.wait_for_step("train", 3)
    all_jobs.must("stop", "train")
    script = all_jobs.path("train", "resume")
    expect(len(harness.read(script).splitlines()) == 2, harness.read(script))
    done = subprocess.run([script, "-f"], capture_output=True, text=True, timeout=30, cwd="/",
                          env={"PATH": os.environ["PATH"]})
    expect(done.returncode == 0 and "result" in done.stdout, done)
    all_jobs.expect_undisturbed("train", 60)
    harness.no_helpers()


def other_host(directory):
    """A folder that hosts share: what runs on another one is not declared lost, nor started a second time."""
    all_jobs = jobs.Jobs(directory)
    all_jobs.start("train", 300, 0.02)
    all_jobs.wait_for_step("train", 2)
    all_jobs.must("checkpoint", "train")
    pid = all_jobs.job("train")["pid"]
    supervisor = int(all_jobs.state("train")["supervisor"])
    expect(all_jobs.job("train")["host"] == socket.gethostname(), all_jobs.job("train"))
    expect(all_jobs.folder in harness.read(f"/proc/{supervisor}/cmdline"), "no supervisor")
    for number in (supervisor, pid):  # as if both were on a host that cannot be seen from here
        os.kill(number, signal.SIGKILL)
        harness.wait_until(lambda: not harness.exists(number) or harness.field(number, "State")[:1] == "Z", 10, "its end")
        harness.reap_all()
    state = all_jobs.state("train")
    state["host"], state["bootId"] = "node7", "00000000-0000-0000-0000-000000000007"
    with open(all_jobs.path("train", "state.json"), "w") as stream:
        json.dump(state, stream)
    expect(re.search(r"^train .* running on host node7 ", all_jobs.must("ps").output, re.M), all_jobs.must("ps"))
    for command in ("checkpoint", "stop", "resume", "rm"):
        all_jobs.refused(command, "train", saying="job train runs on host node7")
    expect(all_jobs.state("train")["status"] == "RUNNING", "somebody has changed its state")
    all_jobs.must("resume", "train", "--take-over")
    all_jobs.wait_for_status("train", "finished")
    all_jobs.expect_undisturbed("train", 300)
    harness.no_helpers()


harness.cases({"spellings": spellings, "push": push, "push_leaves": push_leaves, "push_fails": push_fails, "standby": standby, "watch": watch,
               "resume_script": resume_script, "other_host": other_host})
