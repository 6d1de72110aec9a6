# ctest: TIMEOUT 60
# ctest: CASES version pidfile post_dump_script first_script last_script leave_stopped restore_stopped json show sibling replaces_image restore_figures full_errors
"""Options of dump and restore that are about more than the words on the command line."""

import json
import os
import re
import signal
import subprocess
import time

import counting
import harness


def version(directory):
    for arguments in (["--version"], ["--help"], ["check"]):
        harness.must(harness.engine(*arguments))


def pidfile(directory):
    pid, path = counting.start(directory)
    images, file = os.path.join(directory, "images"), os.path.join(directory, "pid")
    harness.dump_and_reap(pid, images)
    harness.must(harness.restore(images, "--pidfile", file))
    harness.expect(harness.read(file).strip() == str(pid), f"the pid file holds {harness.read(file)!r}, not {pid}")
    counting.expect_progress(path, "after the restore")
    for images, file in ((images, f"{directory}/none/pid"), (os.path.join(directory, "none"), "pid")):
        result = harness.engine("restore", "-D", images, "--pidfile", file)
        harness.expect(result.code == 1 and "there is no folder" in result.errors, str(result))


def post_dump_script(directory):
    """Run when the image is there and the program stands still: one that fails keeps it alive, one that does not ends
    it."""
    pid, path = counting.start(directory)
    images, script, verdict, seen = (os.path.join(directory, name) for name in ("images", "script", "verdict", "seen"))
    with open(script, "w") as stream:
        stream.write(f"#!/bin/sh\n[ \"$CRTOOLS_SCRIPT_ACTION\" = post-dump ] || exit 0\ntest -e {images}/inventory.img && "
                     f"grep State: /proc/$CRTOOLS_INIT_PID/status >{seen}\nexit $(cat {verdict})\n")
    os.chmod(script, 0o755)
    for options, state in (((), "t (tracing stop)"), (("-R",), "[RS] ")):
        with open(verdict, "w") as stream:
            stream.write("5")
        before = harness.state_of(pid)
        result = harness.dump(pid, images, "--action-script", script, *options)
        harness.expect(result.code == 1 and "for post-dump: it ended with status 5" in result.text, str(result))
        harness.expect(re.search(f"State:\t{re.escape(state) if not options else state}", harness.read(seen)),
                       f"the script saw {harness.read(seen)!r}")
        harness.expect_unharmed(pid, before, "after a script that failed")
        counting.expect_progress(path, "after a script that failed")
        harness.must(harness.engine("verify", images))
    with open(verdict, "w") as stream:
        stream.write("0")
    harness.must(harness.dump_and_reap(pid, images, "--action-script", script))
    harness.must(harness.restore(images))
    counting.expect_progress(path, "after the restore")
    harness.kill_and_reap(pid)


def first_script(directory):
    """Brings what the program needs; one that fails ends the restore. It is not run beside the program itself, nor for
    a damaged image."""
    pid, path = counting.start(directory)
    images, script, ran = (os.path.join(directory, name) for name in ("images", "script", "ran"))
    with open(script, "w") as stream:
        stream.write(f"#!/bin/sh\ntouch {ran}\n")
    os.chmod(script, 0o755)
    harness.must(harness.dump(pid, images, "-R"))
    result = harness.restore(images, "--action-script", script)
    harness.expect(result.code == 1 and f"is held by {pid}" in result.text and not os.path.exists(ran), str(result))
    harness.dump_and_reap(pid, images)
    core = os.path.join(images, f"core-{pid}.img")
    whole = harness.read(core, "rb")
    with open(core, "wb") as stream:
        stream.write(whole[:-1])
    result = harness.restore(images, "--action-script", script)
    harness.expect(result.code == 1 and f"core-{pid}.img" in result.text and not os.path.exists(ran), str(result))
    with open(core, "wb") as stream:
        stream.write(whole)
    os.rename(path, path + ".away")
    result = harness.restore(images)
    harness.expect(result.code == 1 and f"{path}: file missing" in result.text, str(result))
    for line, code in (("exit 3", 1), (f"mv {path}.away {path}", 0)):
        with open(script, "w") as stream:
            stream.write(f"#!/bin/sh\n[ \"$CRTOOLS_SCRIPT_ACTION\" = pre-restore ] || exit 0\n{line}\n")
        os.chmod(script, 0o755)
        result = harness.restore(images, "--action-script", script)
        harness.expect(result.code == code, str(result))
        harness.expect(harness.exists(pid) == (code == 0), str(result))
    counting.expect_progress(path, "after the restore")
    harness.kill_and_reap(pid)


def last_script(directory):
    """What fails when the program runs already has not failed: it is there, and so is its pid file."""
    pid, path = counting.start(directory)
    images, file, script = (os.path.join(directory, name) for name in ("images", "pid", "script"))
    harness.dump_and_reap(pid, images)
    with open(script, "w") as stream:
        stream.write("#!/bin/sh\n[ \"$CRTOOLS_SCRIPT_ACTION\" != post-resume ]\n")
    os.chmod(script, 0o755)
    harness.must(harness.restore(images, "--pidfile", file, "--action-script", script))
    harness.expect(harness.read(file).strip() == str(pid), f"the pid file holds {harness.read(file)!r}, not {pid}")
    harness.expect("post-resume" in harness.read(f"{images}/restore.log"), "the log does not tell")
    counting.expect_progress(path, "after the restore")
    harness.kill_and_reap(pid)


def leave_stopped(directory):
    pid, path = counting.start(directory)
    harness.must(harness.dump(pid, os.path.join(directory, "images"), "-s"))
    harness.expect(harness.field(pid, "State").startswith("T (stopped)"), harness.field(pid, "State"))
    reached = counting.written(path)
    time.sleep(0.1)
    harness.expect(counting.written(path) == reached, "it counts although it should be stopped")
    os.kill(pid, signal.SIGCONT)
    counting.expect_progress(path, "after SIGCONT")
    harness.kill_and_reap(pid)
    counting.expect_consecutive(path)


def restore_stopped(directory):
    pid, path = counting.start(directory)
    images = os.path.join(directory, "images")
    harness.dump_and_reap(pid, images)
    reached = counting.written(path)
    harness.must(harness.restore(images, "-s"))
    # Let go of, it wakes for a moment to go on standing still (ptrace(2), group-stop).
    harness.wait_until(lambda: harness.field(pid, "State").startswith("T (stopped)"), 5, "stopped")
    time.sleep(0.1)
    harness.expect(counting.written(path) == reached, "it counts although it should be stopped")
    os.kill(pid, signal.SIGCONT)
    counting.expect_progress(path, "after SIGCONT")
    harness.kill_and_reap(pid)
    counting.expect_consecutive(path)


def json_results(directory):
    pid, path = counting.start(directory)
    images = os.path.join(directory, "images")
    result = harness.must(harness.dump(pid, images, "-R", "--json"))
    expect_json(result, ok=True, pid=pid)
    result = harness.restore(images, "--json")  # the pid is taken
    harness.expect(result.code == 1, str(result))
    answer = expect_json(result, ok=False)
    harness.expect(answer["reason"] and answer["exit_code"] == 1, str(answer))
    harness.kill_and_reap(pid)
    os.truncate(path, 10 * counting.written(path))
    counting.expect_consecutive(path)


def expect_json(result, **wanted):
    try:
        answer = json.loads(result.output)
    except ValueError as wrong:
        raise harness.Failure(f"no JSON on standard output ({wrong}): {result}")
    for key, value in wanted.items():
        harness.expect(answer.get(key) == value, f"{key} is {answer.get(key)!r}: {result}")
    return answer


def show(directory):
    pid, path = counting.start(directory)
    images = os.path.join(directory, "images")
    harness.must(harness.dump(pid, images, "-R"))
    harness.must(harness.engine("verify", images))
    harness.must(harness.engine("show", images))
    text = harness.must(harness.engine("show", images, "--json")).output
    harness.expect(str(pid) in text, text[:2000])
    decoder, at, values = json.JSONDecoder(), 0, 0
    while at < len(text.rstrip()):
        _, at = decoder.raw_decode(text, at + len(text[at:]) - len(text[at:].lstrip()))
        values += 1
    harness.expect(values > 0, "show --json printed nothing")


def sibling(directory):
    """-S makes the program a child of whoever called mini-criu."""
    pid, path = counting.start(directory)
    images = os.path.join(directory, "images")
    harness.dump_and_reap(pid, images)
    done = subprocess.run([harness.ENGINE, "restore", "-D", images, "-d", "-S", "-o", "restore.log"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    harness.expect(done.returncode == 0, done.stdout + done.stderr)
    harness.expect(harness.field(pid, "PPid") == str(os.getpid()), f"its parent is {harness.field(pid, 'PPid')}")
    counting.expect_progress(path, "after the restore")


def replaces_image(directory):
    """A second dump into the same folder replaces the image."""
    pid, path = counting.start(directory)
    images = os.path.join(directory, "images")
    harness.must(harness.dump(pid, images, "-R"))
    harness.must(harness.dump(pid, images, "-R"))
    counting.expect_progress(path, "between the dumps")
    harness.dump_and_reap(pid, images)
    left = [name for name in os.listdir(images) if name.startswith(".")]
    harness.expect(not left, f"left in the folder: {left}")
    harness.must(harness.engine("verify", images))
    harness.must(harness.restore(images))
    counting.expect_progress(path, "after the restore")
    harness.kill_and_reap(pid)
    counting.expect_consecutive(path)


def restore_figures(directory):
    """As the dump leaves its figures in the image, the restore leaves its own in the work folder; the image stays whole."""
    pid, path = counting.start(directory)
    images, work = os.path.join(directory, "images"), os.path.join(directory, "work")
    os.mkdir(work)
    harness.dump_and_reap(pid, images)
    result = harness.must(harness.restore(images, "--display-stats", "-W", work))
    counting.expect_progress(path, "after the restore")
    shown = harness.must(harness.engine("show", os.path.join(work, "stats-restore.img"))).output
    figures = json.loads(shown)[0]["message"]
    harness.expect(int(figures["processes"]) == 1 and int(figures["total_us"]) > int(figures["memory_us"]) > 0, shown)
    harness.expect("pages restored" in result.output, result)
    harness.kill_and_reap(pid)
    # Into the image folder by default; and it is no part of the image, nor in the way of the next one.
    for _ in range(2):
        harness.must(harness.restore(images, "--display-stats", "--file-validation", "none"))
        harness.must(harness.engine("verify", images))
        harness.expect(os.path.exists(os.path.join(images, "stats-restore.img")), os.listdir(images))
        harness.kill_and_reap(pid)
    os.unlink(os.path.join(work, "stats-restore.img"))
    os.mkdir(os.path.join(work, "stats-restore.img"))
    result = harness.must(harness.restore(images, "--display-stats", "-W", work, "--file-validation", "none"))
    harness.expect("stats-restore.img cannot be written" in harness.read(os.path.join(work, "restore.log")), result)
    counting.expect_progress(path, "after the last restore")
    harness.kill_and_reap(pid)


def full_errors(directory):
    """Standard error on a full disk: the exit code, and the log, say what there is to say."""
    def run(*words):
        with open("/dev/full", "w") as full:
            return subprocess.run([harness.ENGINE, *map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=full, timeout=20, check=False).returncode

    images = os.path.join(directory, "images")
    harness.expect(run("dump", "-t", 4194303, "-D", images, "-o", "dump.log") == 1, "a dump of nobody")
    harness.expect("there is no process 4194303" in harness.read(os.path.join(images, "dump.log")), "the log")
    harness.expect(run("restore", "-D", os.path.join(directory, "none")) == 1, "a restore of nothing")
    jobs = os.path.join(directory, "jobs")
    code = run("run", "--jobs-dir", jobs, "--id", "one", "--follow", "--", "sh", "-c", "sleep 0.3; exit 7")
    harness.expect(code == 7, f"a job that is followed and ends with status 7: {code}")


harness.cases({"version": version, "pidfile": pidfile, "post_dump_script": post_dump_script,
               "first_script": first_script, "last_script": last_script, "leave_stopped": leave_stopped,
               "restore_stopped": restore_stopped, "json": json_results, "show": show, "sibling": sibling,
               "replaces_image": replaces_image, "restore_figures": restore_figures, "full_errors": full_errors})
