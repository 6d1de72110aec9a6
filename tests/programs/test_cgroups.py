#!/usr/bin/env python3
# ctest: CASES as_they_were modes other_root without failed_restore neighbours threads named version_two
"""Control groups: who was in which, and how each was configured."""

import os
import re
import signal
import sys
import time

import harness

PIDS = "/sys/fs/cgroup/pids"
PROGRAM = """
import os, sys, threading, time
place, second = sys.argv[1], sys.argv[2]
child = os.fork()
if child == 0:
    if second:
        open(second + '/cgroup.procs', 'w').write('0')
    open('child', 'w').write('x')
    while True:
        time.sleep(60)
if place:
    open(place + '/cgroup.procs', 'w').write(str(os.getpid()))
if len(sys.argv) > 3:
    def run():
        open(sys.argv[3] + '/tasks', 'w').write(str(threading.get_native_id()))
        open('thread', 'w').write(str(threading.get_native_id()))
        time.sleep(600)
    threading.Thread(target=run, daemon=True).start()
open('ready', 'w').write(str(child))
while True:
    time.sleep(60)
"""


class Groups:
    """Groups below one of its own, removed at the end whatever is in them."""

    def __init__(self, root):
        if not os.access(root, os.W_OK) or not os.path.exists(f"{root}/cgroup.procs"):
            raise harness.Skip(f"{root} is no hierarchy that can be written to")
        self.root, self.name = root, f"/mini-criu-test-{os.getpid()}"
        os.mkdir(root + self.name)

    def make(self, path, **files):
        os.mkdir(f"{self.root}{self.name}{path}")
        for name, value in files.items():
            with open(f"{self.root}{self.name}{path}/{name.replace('__', '.')}", "w") as stream:
                stream.write(value)
        return f"{self.root}{self.name}{path}"

    def remove(self):
        harness.end_all_children()
        for folder, _, _ in os.walk(self.root + self.name, topdown=False):
            harness.wait_until(lambda: try_remove(folder), 5, f"the end of {folder}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for name in (self.name, self.name + "-other"):
            self.name = name
            if os.path.exists(self.root + name):
                self.remove()


def try_remove(folder):
    try:
        os.rmdir(folder)
        return True
    except FileNotFoundError:
        return True
    except OSError:
        return False


def begin(directory, place, second, *more):
    pid = harness.start([sys.executable, "-c", PROGRAM, place, second, *more], f"{directory}/out", cwd=directory)
    harness.wait_until(lambda: harness.read(f"{directory}/ready"), 10, "the program")
    harness.wait_until(lambda: harness.read(f"{directory}/child"), 10, "its child")
    return pid, int(harness.read(f"{directory}/ready"))


def group_of(pid, hierarchy="pids"):
    found = re.search(rf"^\d+:{hierarchy}:(.*)$", harness.read(f"/proc/{pid}/cgroup"), re.M)
    return found.group(1) if found else None


def wait_for_end(child):
    """It is ours when its parent has ended."""
    harness.wait_until(lambda: harness.reap_all() or not harness.exists(child), 5, "the end of the child")


def expect_group(pid, path, hierarchy="pids"):
    harness.expect(group_of(pid, hierarchy) == path, f"process {pid} is in {group_of(pid, hierarchy)}, not in {path}")


def dumped(directory, groups, more=("--manage-cgroups",)):
    first, second = groups.make("/a", pids__max="50"), groups.make("/a/b", pids__max="20")
    groups.make("/a/empty", pids__max="7")
    os.chown(f"{first}/cgroup.procs", 1000, 1000)
    pid, child = begin(directory, first, second)
    harness.dump_and_reap(pid, f"{directory}/d", *more)
    wait_for_end(child)
    return pid, child


def as_they_were(directory):
    """All groups are gone at the restore; they are made again, with limits and owners, the empty ones too."""
    with Groups(PIDS) as groups:
        pid, child = dumped(directory, groups)
        groups.remove()
        harness.must(harness.restore(f"{directory}/d", "--manage-cgroups"))
        expect_group(pid, groups.name + "/a")
        expect_group(child, groups.name + "/a/b")
        limits = [harness.read(f"{groups.root}{groups.name}{path}/pids.max") for path in ("/a", "/a/b", "/a/empty")]
        harness.expect(limits == ["50\n", "20\n", "7\n"], f"limits {limits}")
        owner = os.stat(f"{groups.root}{groups.name}/a/cgroup.procs").st_uid
        harness.expect(owner == 1000, f"the owner is {owner}")
        again = f"{directory}/again"
        harness.dump_and_reap(pid, again, "--manage-cgroups")
        same = harness.engine("diff", f"{directory}/d", again)
        differing = [line for line in same.text.splitlines() if line and "cwd_file" not in line]
        harness.expect(not differing, f"diff: {differing}")


def modes(directory):
    with Groups(PIDS) as groups:
        pid, child = dumped(directory, groups)
        limit = f"{groups.root}{groups.name}/a/pids.max"

        def after(mode, before):
            open(limit, "w").write(before)
            harness.must(harness.restore(f"{directory}/d", f"--manage-cgroups={mode}"))
            expect_group(pid, groups.name + "/a")
            expect_group(child, groups.name + "/a/b")
            os.kill(child, signal.SIGKILL)
            harness.kill_and_reap(pid)
            wait_for_end(child)
            return harness.read(limit)

        for mode, expected in (("soft", "60"), ("none", "60"), ("full", "50"), ("props", "50")):
            said = after(mode, "60")
            harness.expect(said == expected + "\n", f"{mode}: the limit is {said}")
        refused(harness.restore(f"{directory}/d", "--manage-cgroups=strict"), "is there already")
        groups.remove()
        for mode in ("none", "props"):
            refused(harness.restore(f"{directory}/d", f"--manage-cgroups={mode}"), f"{groups.name}/a (pids): is not there")
        harness.must(harness.restore(f"{directory}/d", "--manage-cgroups=strict"))
        expect_group(pid, groups.name + "/a")


def refused(result, words):
    harness.expect(result.code == 1 and words in result.text, f"not refused with \"{words}\": {result}")


def other_root(directory):
    with Groups(PIDS) as groups:
        pid, child = dumped(directory, groups)
        groups.remove()
        harness.must(harness.restore(f"{directory}/d", "--manage-cgroups", "--cgroup-root", f"pids:{groups.name}-other"))
        expect_group(pid, groups.name + "-other")
        expect_group(child, groups.name + "-other/b")
        harness.expect(not os.path.exists(groups.root + groups.name + "/a"), "the old group was made")


def without(directory):
    """Both are in the groups of `restore` then, and the dump says that this will be so."""
    with Groups(PIDS) as groups:
        pid, child = dumped(directory, groups, ())
        harness.expect("--manage-cgroups" in harness.read(f"{directory}/d/dump.log"), "the dump did not warn")
        refused(harness.restore(f"{directory}/d", "--manage-cgroups"), "are not in this image")
        harness.must(harness.restore(f"{directory}/d"))
        for one in (pid, child):
            expect_group(one, group_of("self"))


def failed_restore(directory):
    """Groups that were made for a restore which then fails are gone again."""
    with Groups(PIDS) as groups:
        pid, _ = dumped(directory, groups)
        groups.remove()
        script = f"{directory}/script"
        open(script, "w").write("#!/bin/sh\n[ \"$CRTOOLS_SCRIPT_ACTION\" != post-restore ]\n")
        os.chmod(script, 0o755)
        result = harness.restore(f"{directory}/d", "--manage-cgroups", "--action-script", script)
        harness.expect(result.code == 1, f"it should have failed: {result}")
        harness.no_helpers()
        harness.expect(not os.path.exists(groups.root + groups.name), "a group was left")
        harness.must(harness.restore(f"{directory}/d", "--manage-cgroups"))
        expect_group(pid, groups.name + "/a")


def neighbours(directory):
    """Groups beside those of the program are somebody else's: neither made again nor configured, whatever the mode."""
    with Groups(PIDS) as groups:
        gone, stays = groups.make("/gone", pids__max="33"), groups.make("/stays", pids__max="33")
        pid, child = dumped(directory, groups)
        os.rmdir(gone)
        open(f"{stays}/pids.max", "w").write("44")
        open(f"{groups.root}{groups.name}/a/pids.max", "w").write("60")
        script = f"{directory}/script"
        open(script, "w").write("#!/bin/sh\n[ \"$CRTOOLS_SCRIPT_ACTION\" != post-restore ]\n")
        os.chmod(script, 0o755)
        result = harness.restore(f"{directory}/d", "--manage-cgroups=full", "--action-script", script)
        harness.expect(result.code == 1, f"it should have failed: {result}")
        harness.no_helpers()
        limit = harness.read(f"{groups.root}{groups.name}/a/pids.max")
        harness.expect(limit == "60\n", f"after a restore that failed the limit is {limit}")
        harness.must(harness.restore(f"{directory}/d", "--manage-cgroups=full"))
        expect_group(pid, groups.name + "/a")
        harness.expect(harness.read(f"{groups.root}{groups.name}/a/pids.max") == "50\n", "the group was not configured")
        harness.expect(not os.path.exists(gone), "the group of somebody else was made")
        harness.expect(harness.read(f"{stays}/pids.max") == "44\n", "the group of somebody else was configured")


def threads(directory):
    """Version 1 has threads of one process in different groups."""
    with Groups(PIDS) as groups:
        first, third = groups.make("/a"), groups.make("/c")
        pid, _ = begin(directory, first, "", third)
        harness.wait_until(lambda: harness.read(f"{directory}/thread"), 10, "its thread")
        tid = harness.read(f"{directory}/thread")
        harness.dump_and_reap(pid, f"{directory}/d", "--manage-cgroups")
        harness.reap_all()
        harness.must(harness.restore(f"{directory}/d", "--manage-cgroups"))
        expect_group(f"{pid}/task/{pid}", groups.name + "/a")
        expect_group(f"{pid}/task/{tid}", groups.name + "/c")


def named(directory):
    """A hierarchy with a name and no controllers; between dump and restore it is gone altogether."""
    name, place = f"name=mini-criu-{os.getpid()}", f"{directory}/mounted"
    os.mkdir(place)
    if os.system(f"mount -t cgroup -o none,{name} cgroup {place}") != 0:
        raise harness.Skip("no hierarchy can be mounted here")
    try:
        os.mkdir(f"{place}/one")
        pid, child = begin(directory, f"{place}/one", "")
        harness.dump_and_reap(pid, f"{directory}/d", "--manage-cgroups")
        wait_for_end(child)
        harness.wait_until(lambda: try_remove(f"{place}/one"), 5, "the end of the group")
        time.sleep(0.5)  # a hierarchy that is left while a group of it goes stays for ever
    finally:
        os.system(f"umount {place}")
    harness.wait_until(lambda: name not in harness.read("/proc/self/cgroup"), 5, "the end of the hierarchy")
    harness.must(harness.restore(f"{directory}/d", "--manage-cgroups"))
    expect_group(pid, "/one", name)
    expect_group(child, "/", name)
    harness.end_all_children()
    os.system(f"mount -t cgroup -o none,{name} cgroup {place}")
    harness.wait_until(lambda: try_remove(f"{place}/one"), 5, "the end of the group")
    time.sleep(0.5)
    os.system(f"umount {place}")


def version_two(directory):
    for root in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
        if os.path.exists(f"{root}/cgroup.controllers"):
            break
    with Groups(root) as groups:
        first, second = groups.make("/a", cgroup__max__depth="5"), groups.make("/b")
        pid, child = begin(directory, first, second)
        harness.dump_and_reap(pid, f"{directory}/d", "--manage-cgroups")
        wait_for_end(child)
        groups.remove()
        harness.must(harness.restore(f"{directory}/d", "--manage-cgroups"))
        expect_group(pid, groups.name + "/a", "")
        expect_group(child, groups.name + "/b", "")
        depth = harness.read(f"{groups.root}{groups.name}/a/cgroup.max.depth")
        harness.expect(depth == "5\n", f"the depth is {depth}")


if os.geteuid() != 0:
    print("SKIPPED: only root makes control groups")
    sys.exit(77)
harness.cases({"as_they_were": as_they_were, "modes": modes, "other_root": other_root, "without": without,
               "failed_restore": failed_restore, "neighbours": neighbours, "threads": threads, "named": named, "version_two": version_two})
