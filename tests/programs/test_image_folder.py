# ctest: TIMEOUT 60
# ctest: CASES links modes
"""What lies in an image folder before a dump is not followed, and what a dump leaves there is for its user alone."""

import os
import stat
import subprocess
import sys

import harness


def program(directory):
    output = os.path.join(directory, "output")
    pid = harness.start([sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(100)"], output)
    harness.wait_until(lambda: harness.read(output), 10, "the program")
    return pid


def links(directory):
    """Names that a dump writes, and its log, as links to a file of somebody else."""
    pid = program(directory)
    before = harness.state_of(pid)
    victim = os.path.join(directory, "victim")
    with open(victim, "w") as stream:
        stream.write("untouched")
    images = os.path.join(directory, "images")
    os.mkdir(images)
    for name in ("inventory.img", "files.img", f"core-{pid}.img", f"pages-{pid}.img", ".commit"):
        os.symlink(victim, os.path.join(images, name))
    result = harness.engine("dump", "-t", pid, "-D", images, "-R", "-v4")
    harness.expect(harness.read(victim) == "untouched", f"a link was followed: {result}")
    if result.code == 0:
        for name in os.listdir(images):
            mode = os.lstat(os.path.join(images, name)).st_mode
            harness.expect(stat.S_ISREG(mode), f"{name} is a link still")
    os.symlink(victim, os.path.join(images, "dump.log"))
    result = harness.dump(pid, images, "-R")
    harness.expect(result.code == 2 and "symbolic link" in result.text, str(result))
    harness.expect(harness.read(victim) == "untouched", "the log went through a link")
    os.symlink(victim, os.path.join(directory, "pid"))
    other = os.path.join(directory, "other")
    harness.dump_and_reap(pid, other)
    result = harness.restore(other, "--pidfile", os.path.join(directory, "pid"))
    harness.expect(result.code == 1 and "exists already" in result.text, str(result))
    harness.expect(harness.read(victim) == "untouched", "the pid went through a link")
    harness.must(harness.restore(other))
    harness.expect_unharmed(pid, before, "after a restore")
    harness.kill_and_reap(pid)


def modes(directory):
    pid = program(directory)
    old = os.umask(0)
    images = os.path.join(directory, "images")
    harness.must(harness.dump(pid, images, "-R"))
    os.umask(old)
    mode = stat.S_IMODE(os.stat(images).st_mode)
    harness.expect(mode == 0o700, f"the folder has mode {mode:o}")
    for name in os.listdir(images):
        mode = stat.S_IMODE(os.lstat(os.path.join(images, name)).st_mode)
        harness.expect(mode == 0o600, f"{name} has mode {mode:o}")
    os.chmod(images, 0o777)
    harness.expect("everybody may write" in harness.engine("dump", "-t", pid, "-D", images, "-R").text, "no warning")
    os.chown(images, 1000, 1000)
    harness.expect("belongs to user 1000" in harness.engine("dump", "-t", pid, "-D", images, "-R").text, "no warning")
    # A FIFO in the place of a file must not hold up a restore.
    name = os.path.join(images, "files.img")
    os.unlink(name)
    os.mkfifo(name)
    result = harness.engine("restore", "-D", images, "-d", limit=10)
    harness.expect(result.code == 1 and "not a regular file" in result.text, str(result))
    subprocess.run(["rm", "-f", name])
    os.symlink("/etc/passwd", name)
    result = harness.engine("restore", "-D", images, "-d", limit=10)
    harness.expect(result.code == 1 and "symbolic link" in result.text, str(result))


if os.geteuid() != 0:
    print("SKIPPED: it takes root to give a folder to somebody else")
    sys.exit(77)
harness.cases({"links": links, "modes": modes})
