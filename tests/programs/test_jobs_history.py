# ctest: TIMEOUT 150
# ctest: CASES line log_of_line early_signal stop_in_pause after_again odd_text clock_set_back
"""What a job has behind it: the line of its checkpoints and the log of each, and moments that are easily missed."""

import json
import os
import random
import shutil
import signal
import subprocess
import time

import harness
import jobs
from harness import expect


def take_checkpoints(all_jobs, job, steps):
    for step in steps:
        all_jobs.wait_for_step(job, step)
        all_jobs.must("checkpoint", job)


def line(directory):
    """After resume --from 2 a crash goes back to 2, though newer ones of the line that was left are there."""
    all_jobs = jobs.Jobs(directory)
    all_jobs.start("train", 200, 0.02, "--restart", "5")
    take_checkpoints(all_jobs, "train", (5, 15, 60))
    all_jobs.must("stop", "train")
    all_jobs.must("resume", "train", "--from", "2")
    all_jobs.wait_for_step("train", 20)
    expect(all_jobs.steps("train") < 60, "it is further than the second checkpoint was")
    all_jobs.kill_program("train")
    harness.wait_until(lambda: all_jobs.job("train")["restarts_used"] == 1 and all_jobs.job("train")["status"] == "running",
                       20, "the restart")
    log = harness.read(all_jobs.path("train", "execution.log"))
    expect(log.count("goes on from checkpoint 2 ") == 2 and "goes on from checkpoint 4 " not in log, log)
    all_jobs.must("stop", "train")
    expect("goes on from checkpoint 5 " in all_jobs.must("resume", "train").output, "not from its own last one")
    all_jobs.wait_for_status("train", "finished")
    all_jobs.expect_undisturbed("train", 200)
    harness.no_helpers()


# Each time that it is started or resumed it prints another word, so that lines of one line are not those of another.
WORDS = """
import os, sys, time
for step in range(int(sys.argv[1])):
    print("step", step, open(sys.argv[2]).read(), flush=True)
    time.sleep(0.02)
"""


def log_of_line(directory):
    """From one line to the other and back: the log is each time what that line had printed, put together again."""
    all_jobs = jobs.Jobs(directory)
    program, word = os.path.join(directory, "words.py"), os.path.join(directory, "word")

    def say(text):
        with open(word + ".new", "w") as stream:
            stream.write(text)
        os.rename(word + ".new", word)

    with open(program, "w") as stream:
        stream.write(WORDS)
    say("one")
    all_jobs.must("run", "--id", "train", "--", "python3", program, "100000", word)
    take_checkpoints(all_jobs, "train", (5, 30))
    all_jobs.wait_for_step("train", 40)
    all_jobs.must("stop", "train")
    logs = {3: all_jobs.log("train")}
    say("two")
    all_jobs.must("resume", "train", "--from", "1")
    all_jobs.wait_for_step("train", 12)
    all_jobs.must("stop", "train")
    logs[4] = all_jobs.log("train")
    expect("two" in logs[4] and logs[4].index("two") < 400, logs[4])
    say("three")
    for number in (3, 4, 2, 4, 3):
        all_jobs.must("resume", "train", "--from", str(number))
        all_jobs.wait_for_step("train", logs[min(number, 4) if number != 2 else 3].count("step") + 1)
        all_jobs.must("stop", "train", "--no-checkpoint")
        log = all_jobs.log("train")
        if number in logs:
            expect(log.startswith(logs[number]) and "three" in log[len(logs[number]):], f"{number}: {log}")
        else:
            expect(logs[3].startswith(log[:log.index("three")].rsplit("step", 1)[0]) and "two" not in log, f"{number}: {log}")
        steps = [int(one.split()[1]) for one in log.splitlines()]
        expect(steps == list(range(len(steps))), f"from {number}: lines are missing or repeated: {log}")
    harness.no_helpers()


def early_signal(directory):
    """A signal in the first milliseconds of run -f, at whatever moment: the program gets it, or there is none."""
    chance = harness.seeded()
    all_jobs = jobs.Jobs(directory)
    began = time.monotonic()
    harness.must(harness.engine("run", "-f", "--jobs-dir", all_jobs.folder, "--", "true"))
    length = time.monotonic() - began
    passed = 0
    for number in range(25):
        job = f"a{number}"
        ran = subprocess.Popen([harness.ENGINE, "run", "-f", "--jobs-dir", all_jobs.folder, "--id", job, "--", "sleep", "30"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0, 1.5 * length))
        ran.send_signal(signal.SIGTERM)
        code = ran.wait(20)
        expect(code == -signal.SIGTERM, f"run -f ended with {code}")
        if not os.path.exists(all_jobs.path(job)):
            continue  # it had begun nothing yet
        status = all_jobs.wait_for_status(job, "killed (TERM)", 10)
        expect(status["signal"] == signal.SIGTERM, status)
        passed += 1
    expect(passed > 5, f"only {passed} programs were there to be signalled")
    harness.no_helpers()


def stop_in_pause(directory):
    """The scheduler's signal between two attempts of --restart: the status that asks for the queue, and no other."""
    all_jobs = jobs.Jobs(directory)
    words = ("--id", "a", "--on-signal", "USR1", "--restart", "50", "--", "sh", "-c", "sleep 0.1; exit 3")
    ran = subprocess.Popen([harness.ENGINE, "run", "--jobs-dir", all_jobs.folder, *words], stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    harness.wait_until(lambda: "in 2 s" in harness.read(all_jobs.path("a", "execution.log")), 20, "a pause of two seconds")
    ran.send_signal(signal.SIGUSR1)
    expect(ran.wait(10) == 85, f"it ended with {ran.returncode}")
    expect(all_jobs.job("a")["status"] == "stopped", all_jobs.job("a"))
    all_jobs.must("run", "--id", "b", "--restart", "50", "--", "sh", "-c", "sleep 0.1; exit 3")
    harness.wait_until(lambda: "in 2 s" in harness.read(all_jobs.path("b", "execution.log")), 20, "a pause of two seconds")
    expect("Job b was waiting to be restarted, and has been ended" in all_jobs.must("stop", "b").output, "stop has not worked")
    harness.no_helpers()


def after_again(directory):
    """--after whose checkpoint fails is tried again, and stops the job when it can."""
    all_jobs = jobs.Jobs(directory)
    # While the child lives it has lost its parent, and a checkpoint is refused.
    all_jobs.must("run", "--id", "a", "--after", "300ms", "--", "sh", "-c", "(sleep 1.5 &) ; while :; do sleep 0.05; done")
    harness.wait_until(lambda: "has lost its parent" in all_jobs.job("a")["last_error"], 10, "a checkpoint that is refused")
    found = all_jobs.wait_for_status("a", "stopped", 20)
    expect(found["last_error"] == "" and len(found["checkpoints"]) == 1, found)
    harness.no_helpers()


def odd_text(directory):
    """Names of files that are no UTF-8, in what a checkpoint says when it fails: JSON stays JSON."""
    all_jobs = jobs.Jobs(directory)
    odd = os.fsencode(directory) + b"/odd\xff\xfename"
    program = os.path.join(directory, "odd.py")
    with open(program, "w") as stream:
        stream.write("import os, sys, time\nf = open(os.fsencode(sys.argv[1]) + b'/odd\\xff\\xfename', 'w')\n"
                     "f.write('x'); f.flush()\nprint('ready', flush=True)\ntime.sleep(1000)\n")
    all_jobs.must("run", "--id", "a", "--", "python3", program, directory)
    harness.wait_until(lambda: "ready" in all_jobs.log("a"), 10, "the program")
    all_jobs.must("stop", "a")
    os.unlink(odd)
    result = all_jobs.call("resume", "a", "--json")
    told = json.loads(result.output)
    expect(result.code == 1 and told["ok"] is False and "odd\\xff\\xfename: file missing" in result.errors, result)
    found = all_jobs.job("a")
    expect(found["status"] == "stopped" and found["last_error"], found)
    expect(json.loads(all_jobs.must("ps", "--json").output)["jobs"], "ps")
    bad = subprocess.run([harness.ENGINE, "run", "--jobs-dir", all_jobs.folder, "-w", directory, "--", "echo", b"\xff"],
                         capture_output=True, timeout=20)
    expect(bad.returncode == 1 and b"no UTF-8 text: \\xff" in bad.stderr, bad)
    harness.no_helpers()


BACK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
#include <unistd.h>
/* The clock of the day goes back an hour as soon as the file is there. */
int clock_gettime(clockid_t clock, struct timespec* now) {
  static int (*real)(clockid_t, struct timespec*);
  if (!real) real = (int (*)(clockid_t, struct timespec*))dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, now);
  if (clock == CLOCK_REALTIME && access(BACK_FILE, F_OK) == 0) now->tv_sec -= 3600;
  return result;
}
time_t time(time_t* where) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (where) *where = now.tv_sec;
  return now.tv_sec;
}
"""


def clock_set_back(directory):
    """The clock of the day is set back an hour: checkpoints go on in their time, in their order, and ps is sober."""
    compiler = shutil.which("cc")
    if not compiler:
        raise harness.Skip("needs a C compiler, for a library that sets the clock back")
    library, moment = os.path.join(directory, "back.so"), os.path.join(directory, "now")
    with open(library + ".c", "w") as stream:
        stream.write(BACK)
    subprocess.run([compiler, "-shared", "-fPIC", f'-DBACK_FILE="{moment}"', "-o", library, library + ".c", "-ldl"], check=True,
                   timeout=60)
    all_jobs = jobs.Jobs(directory)
    environment = {**os.environ, "LD_PRELOAD": library}
    harness.must(harness.engine("run", "--jobs-dir", all_jobs.folder, "--id", "train", "--every", "200ms", "--keep", "3",
                                "--after", "3s", "--", "python3", all_jobs.loop, "2000", "0.02", environment=environment))
    all_jobs.wait_for_checkpoints("train", 3)
    open(moment, "w").close()
    before, began = all_jobs.state("train")["nextNumber"], time.monotonic()
    all_jobs.wait_for_checkpoints("train", before + 3)
    took = time.monotonic() - began
    expect(took < 8, f"three checkpoints of 200 ms took {took:.1f} s")
    table = harness.must(harness.engine("ps", "--jobs-dir", all_jobs.folder, environment=environment)).output
    expect(" 0s " in table, table)  # what lies in the future is no age
    found = all_jobs.wait_for_status("train", "stopped", 20)
    expect(len(found["checkpoints"]) == 3, found)
    log = harness.read(all_jobs.path("train", "execution.log")).splitlines()
    expect(log[-1] < log[0], f"the clock was not set back: {log}")
    harness.must(harness.engine("resume", "--jobs-dir", all_jobs.folder, "--after", "0", "train", environment=environment))
    all_jobs.end("train")
    harness.no_helpers()


harness.cases({"line": line, "log_of_line": log_of_line, "early_signal": early_signal, "stop_in_pause": stop_in_pause,
               "after_again": after_again, "odd_text": odd_text, "clock_set_back": clock_set_back})
