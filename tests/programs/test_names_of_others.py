# ctest: TIMEOUT 120
# ctest: CASES named_link named_folder own_links other_owner deleted_planted deleted_swapped deleted_mark two_at_once
"""Root restores the program of a user who leads its names elsewhere: nothing that is not the user's is opened, removed
or written. Links of root are followed, and two restores in one folder leave each other's names alone."""

import fcntl
import os
import shutil
import sys
import threading
import time

import harness

USER = 1000
AS_USER = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"]
MARK = "user.mini-criu.deleted-file"
SECRET = "do not touch\n"

PROGRAM = """
import os, sys, time
home = sys.argv[1]
os.makedirs(home + "/d")
kept = open(home + "/d/file", "w+")
kept.write("{letter}" * {size}), kept.flush()
if {deleted}:
    os.unlink(home + "/d/file")
open(home + "/ready", "w").close()
while not os.path.exists(home + "/go"):
    time.sleep(0.005)
kept.seek(0)
open(home + "/result.part", "w").write(kept.read() + "|" + os.readlink("/proc/self/fd/%d" % kept.fileno()))
os.rename(home + "/result.part", home + "/result")
"""


def begin(directory, deleted, letter="x", size=len(SECRET)):
    """The program runs in a folder of the user's; beside it is a folder of root's with a file of the same size."""
    os.chmod(directory, 0o755)
    home, safe = os.path.join(directory, "home"), os.path.join(directory, "safe")
    os.mkdir(home)
    os.chown(home, USER, USER)
    if not os.path.exists(safe):
        os.mkdir(safe)
        with open(f"{safe}/file", "w") as out:
            out.write(SECRET)
    out = os.path.join(directory, "out")
    pid = harness.start([*AS_USER, sys.executable, "-c", PROGRAM.format(deleted=deleted, letter=letter, size=size), home], out)
    harness.wait_until(lambda: os.path.exists(f"{home}/ready"), 10, "the program is ready")
    time.sleep(0.05)
    images = os.path.join(directory, "images")
    harness.dump_and_reap(pid, images)
    return pid, images, home, safe


def as_user(action):
    """What the user does meanwhile."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
            action()
            code = 0
        finally:
            os._exit(code)
    return pid


def now_as_user(action):
    harness.expect(harness.wait_for(as_user(action)) == 0, "the user could not do that")


def swap_folder(home, safe):
    os.rename(f"{home}/d", f"{home}/d2")
    os.symlink(safe, f"{home}/d")


def expect_safe(safe):
    harness.expect(sorted(os.listdir(safe)) == ["file"], f"in root's folder is {os.listdir(safe)}")
    harness.expect(harness.read(f"{safe}/file") == SECRET, "root's file was changed")


def expect_refused(images, *words):
    result = harness.restore(images)
    harness.expect(result.code == 1, str(result))
    for word in words:
        harness.expect(word in result.text, f"no \"{word}\" in {result}")
    harness.expect("nothing was created" in result.text, str(result))
    harness.no_helpers()


def finish(pid, home):
    with open(f"{home}/go", "w"):
        pass
    result = harness.wait_until(lambda: harness.read(f"{home}/result"), 10, "the program goes on")
    harness.wait_for(pid)
    return result.split("|")


def named_link(directory):
    """The file itself is a link now."""
    _, images, home, safe = begin(directory, False)

    def plant():
        os.unlink(f"{home}/d/file")
        os.symlink(f"{safe}/file", f"{home}/d/file")
    now_as_user(plant)
    expect_refused(images, f"{home}/d/file", "symbolic link", f"of user {USER}", "chown -h")
    expect_safe(safe)


def named_folder(directory):
    """A folder above it is a link now."""
    _, images, home, safe = begin(directory, False)
    now_as_user(lambda: swap_folder(home, safe))
    expect_refused(images, f"symbolic link {home}/d of user {USER}")
    result = harness.restore(images, "--file-validation", "none")
    harness.expect(result.code == 1 and "symbolic link" in result.text, str(result))
    expect_safe(safe)


def own_links(directory):
    """Root has moved things, and has left links: relative, absolute, one behind the other."""
    pid, images, home, _ = begin(directory, False)
    os.rename(f"{home}/d", f"{directory}/moved")
    os.symlink("../second", f"{home}/d")
    os.symlink(f"{directory}/./moved/", f"{directory}/second")
    os.rename(f"{directory}/moved/file", f"{directory}/moved/real")
    os.symlink("real", f"{directory}/moved/file")
    harness.must(harness.restore(images))
    text, link = finish(pid, home)
    harness.expect(text == "x" * len(SECRET) and link == f"{directory}/moved/real", f"{text} {link}")


def other_owner(directory):
    """No link at all, but another's file: of the same size, under the same name."""
    pid, images, home, safe = begin(directory, False)
    os.rename(f"{home}/d/file", f"{home}/d/kept")
    os.link(f"{safe}/file", f"{home}/d/file")
    expect_refused(images, f"{home}/d/file: belongs to user 0 and group 0, belonged to user {USER} and group {USER}",
                   "--file-validation none")
    os.unlink(f"{home}/d/file")
    os.rename(f"{home}/d/kept", f"{home}/d/file")
    os.chown(f"{home}/d/file", USER, 0)
    expect_refused(images, f"belongs to user {USER} and group 0")
    harness.must(harness.restore(images, "--file-validation", "none"))
    finish(pid, home)


def deleted_planted(directory):
    """The folder of a deleted file is a link to root's."""
    pid, images, home, safe = begin(directory, True)
    now_as_user(lambda: swap_folder(home, safe))
    expect_refused(images, f"symbolic link {home}/d of user {USER}")
    expect_safe(safe)
    now_as_user(lambda: os.unlink(f"{home}/d"))
    os.rename(f"{home}/d2", f"{home}/d")
    harness.must(harness.restore(images))
    text, link = finish(pid, home)
    harness.expect(text == "x" * len(SECRET) and link == f"{home}/d/file (deleted)", f"{text} {link}")


def deleted_swapped(directory):
    """As soon as the name is there, the user moves its folder away and puts a link in its place."""
    pid, images, home, safe = begin(directory, True)
    swapped = 0
    for _ in range(30):
        def play():
            end = time.monotonic() + 10
            while time.monotonic() < end:
                for _ in range(500):
                    if os.path.exists(f"{home}/d/file"):
                        swap_folder(home, safe)
                        os._exit(0)
                    if os.path.exists(f"{home}/stop"):
                        os._exit(1)
        player = as_user(play)
        harness.must(harness.restore(images))
        open(f"{home}/stop", "w").close()
        swapped += harness.wait_for(player) == 0
        os.unlink(f"{home}/stop")
        expect_safe(safe)
        if os.path.islink(f"{home}/d"):
            os.unlink(f"{home}/d")
            os.rename(f"{home}/d2", f"{home}/d")
        harness.expect(os.listdir(f"{home}/d") == [], f"left over: {os.listdir(f'{home}/d')}")
        harness.kill_and_reap(pid)
    print(f"{swapped} times of 30 in the middle of a restore")


def deleted_mark(directory):
    """A marked file whose maker lives stays, one whose maker is gone goes; neither is mixed up with ours."""
    pid, images, home, _ = begin(directory, True)
    workshop = f"{home}/d/.mini-criu-workshop.0"
    os.mkdir(workshop, 0o700)
    with open(f"{home}/d/file", "w") as out:
        out.write("another restore's")
    try:
        os.setxattr(f"{home}/d/file", MARK, b".mini-criu-workshop.0")
    except OSError as error:
        raise harness.Skip(f"no extended attributes: {error}") from error
    lock = os.open(workshop, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    harness.must(harness.restore(images))
    harness.expect(harness.read(f"{home}/d/file") == "another restore's", "what another restore uses was touched")
    harness.expect(sorted(os.listdir(f"{home}/d")) == [".mini-criu-workshop.0", "file"], str(os.listdir(f"{home}/d")))
    link = [link for link in harness.links(pid).values() if link.startswith(f"{home}/d/file")]
    harness.expect(link[0].startswith(f"{home}/d/file.mini-criu-"), str(link))
    harness.kill_and_reap(pid)
    os.close(lock)
    harness.must(harness.restore(images))
    harness.expect(os.listdir(f"{home}/d") == [], f"left over: {os.listdir(f'{home}/d')}")
    text, link = finish(pid, home)
    harness.expect(text == "x" * len(SECRET) and link == f"{home}/d/file (deleted)", f"{text} {link}")


def two_at_once(directory):
    """Of two programs that had a deleted file of the same name each gets its own."""
    programs = []
    for text in ("a", "b"):
        pid, images, home, _ = begin(directory, True, text, 300_000)
        os.rename(home, f"{directory}/home-{text}")
        programs.append((text, pid, images, f"{directory}/home-{text}"))
        os.rename(images, f"{directory}/images-{text}")
    folder = os.path.join(directory, "home", "d")
    os.makedirs(folder)
    for _ in range(15):
        results = {}

        def restore(text):
            results[text] = harness.restore(f"{directory}/images-{text}")
        threads = [threading.Thread(target=restore, args=(text,)) for text in ("a", "b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for text, pid, _, _ in programs:
            harness.must(results[text])
            number = [n for n, link in harness.links(pid).items() if link.startswith(f"{folder}/file")]
            content = harness.read(f"/proc/{pid}/fd/{number[0]}")
            harness.expect(content == text * 300_000, f"{text} got {content[:10]}")
        harness.expect(os.listdir(folder) == [], f"left over: {os.listdir(folder)}")
        for _, pid, _, _ in programs:
            harness.kill_and_reap(pid)


if os.geteuid() != 0 or not shutil.which("setpriv"):
    print("SKIPPED: it takes root and setpriv to become another user")
    sys.exit(77)
harness.cases({"named_link": named_link, "named_folder": named_folder, "own_links": own_links,
               "other_owner": other_owner, "deleted_planted": deleted_planted, "deleted_swapped": deleted_swapped,
               "deleted_mark": deleted_mark, "two_at_once": two_at_once})
