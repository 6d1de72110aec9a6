# ctest: TIMEOUT 90
# ctest: CASES usage unknown_pid kernel_thread ancestor traced image_folder_is_a_file disk_full no_memory other_user image_missing image_empty image_truncated image_bit_flipped image_foreign pid_taken files_changed
"""Bad input and faults: the exit code, a line that names object, reason and remedy, and nothing harmed or left."""

import ctypes
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import time

import counting
import harness


def expect_refusal(result, *patterns, code=1):
    harness.expect(result.code == code, f"exit code {code} was expected: {result}")
    for pattern in patterns:
        harness.expect(re.search(pattern, result.text, re.I), f"/{pattern}/ was expected in the message: {result}")
    lines = [line for line in result.errors.splitlines() if line.strip()]
    harness.expect(lines, f"there is no message: {result}")
    return result


def expect_no_image(images, *allowed):
    """Nothing is in the folder but logs."""
    found = os.listdir(images) if os.path.isdir(images) else []
    left = [name for name in found if not name.endswith(".log") and name not in allowed]
    harness.expect(not left, f"left in the image folder: {left}")


def victim(directory):
    pid, path = counting.start(directory)
    return pid, path, harness.state_of(pid)


def expect_alive(pid, path, before, what):
    harness.no_helpers(pid)
    harness.expect_unharmed(pid, before, what)
    counting.expect_progress(path, what)
    harness.kill_and_reap(pid)
    counting.expect_consecutive(path)


def usage(directory):
    images = os.path.join(directory, "images")
    expect_refusal(harness.engine("no-such-command"), "no-such-command", code=2)
    expect_refusal(harness.engine("dump", "-D", images), "tree|-t", code=2)
    expect_refusal(harness.engine("dump", "-t", "1", "-D", images, "--no-such-option"), "no-such-option", code=2)
    expect_refusal(harness.engine("dump", "-t", "word", "-D", images), "word", code=2)
    expect_refusal(harness.engine("dump", "-t", "-5", "-D", images), "", code=2)
    expect_refusal(harness.engine("dump", "-t", "1", "-D", images, "--stream"), "stream", code=2)
    harness.expect(not os.path.exists(images), "the image folder was made all the same")


def unknown_pid(directory):
    pid = 32000
    while harness.exists(pid):
        pid -= 1
    images = os.path.join(directory, "images")
    expect_refusal(harness.dump(pid, images), rf"\b{pid}\b", "no such|not exist|no process")
    expect_no_image(images)


def kernel_thread(directory):
    if harness.read("/proc/2/comm").strip() != "kthreadd":
        raise harness.Skip("no kernel thread is visible here")
    expect_refusal(harness.dump(2, os.path.join(directory, "images")), r"\b2\b", "kernel thread")


def ancestor(directory):
    expect_refusal(harness.dump(os.getpid(), os.path.join(directory, "images")), rf"\b{os.getpid()}\b", "ancestor")
    expect_refusal(harness.dump(os.getppid(), os.path.join(directory, "images")), "ancestor")


def traced(directory):
    pid, path, before = victim(directory)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    harness.expect(libc.ptrace(0x4206, pid, None, None) == 0, "PTRACE_SEIZE failed")  # of its leader
    name = harness.read("/proc/self/comm").strip()
    images = os.path.join(directory, "images")
    expect_refusal(harness.dump(pid, images), rf"\b{pid}\b", "trace", rf"\b{os.getpid()}\b", re.escape(name))
    expect_no_image(images)
    libc.ptrace(0x4207, pid, None, None)  # PTRACE_INTERRUPT, so that it can be detached
    harness.wait_until(lambda: os.waitpid(pid, os.WNOHANG | 0x40000000)[0], 5, "the stop")
    libc.ptrace(17, pid, None, None)
    expect_alive(pid, path, before, "after the refusal")


def image_folder_is_a_file(directory):
    pid, path, before = victim(directory)
    file = os.path.join(directory, "file")
    open(file, "w").close()
    expect_refusal(harness.engine("dump", "-t", pid, "-D", file), re.escape(file))
    expect_refusal(harness.engine("dump", "-t", pid, "-D", os.path.join(file, "below")), re.escape(file))
    expect_alive(pid, path, before, "after the refusal")


def disk_full(directory):
    """A file system too small for the image: at every size something else fails first."""
    mount = os.path.join(directory, "small")
    os.mkdir(mount)
    pid, path, before = victim(directory)
    refused = 0
    for kilobytes in (4, 8, 16, 24, 40, 64, 100, 150):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", mount], capture_output=True)
        if done.returncode:
            raise harness.Skip("tmpfs cannot be mounted here")
        try:
            images = os.path.join(mount, "images")
            log = os.path.join(directory, "dump.log")
            result = harness.engine("dump", "-t", pid, "-D", images, "-R", "-v4", "-o", log)
            harness.no_helpers(pid)
            harness.expect_unharmed(pid, before, f"after a dump into {kilobytes} KiB")
            if result.code == 0:
                harness.must(harness.engine("verify", images))
                continue
            expect_refusal(result, "no space|ENOSPC")
            refused += 1
            expect_no_image(images)
        finally:
            subprocess.run(["umount", mount], check=True)
    harness.expect(refused > 2, "the image fits into every file system")
    expect_alive(pid, path, before, "after all")


def no_memory(directory):
    """An engine that may use only so much address space: it fails cleanly or it works."""
    pid, path, before = victim(directory)
    images = os.path.join(directory, "images")
    codes = []
    for megabytes in (12, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128):
        def limit(megabytes=megabytes):
            resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
        done = subprocess.run([harness.ENGINE, "dump", "-t", str(pid), "-D", images, "-R", "-o", "dump.log"],
                              preexec_fn=limit, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
        codes.append(done.returncode)
        # With too little it cannot even begin: its libraries cannot be loaded, or initialised, whatever it is to do.
        begins = subprocess.run([harness.ENGINE, "--version"], preexec_fn=limit, stdin=subprocess.DEVNULL,
                                capture_output=True, timeout=20).returncode == 0
        harness.expect(done.returncode in (0, 1) or not begins,
                       f"with {megabytes} MiB: {done.returncode}\n{done.stdout}{done.stderr}")
        harness.no_helpers(pid)
        harness.expect_unharmed(pid, before, f"after a dump with {megabytes} MiB of address space")
        if os.path.exists(os.path.join(images, "inventory.img")):
            harness.must(harness.engine("verify", images))
        shutil.rmtree(images, ignore_errors=True)
    print(f"exit codes: {codes}")
    expect_alive(pid, path, before, "after all")


def other_user(directory):
    """An ordinary user cannot dump root's program."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        raise harness.Skip("needs root and setpriv")
    pid, path, before = victim(directory)
    program, images = os.path.join(directory, "mini-criu"), os.path.join(directory, "images")
    shutil.copy(harness.ENGINE, program)
    os.chmod(program, 0o755)
    os.mkdir(images)
    os.chmod(images, 0o777)
    result = harness.dump(pid, images, program=program,
                          prefix=["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"])
    expect_refusal(result, rf"\b{pid}\b", "permit|permission|right|root|EPERM|EACCES")
    expect_no_image(images)
    expect_alive(pid, path, before, "after the refusal")


def image_missing(directory):
    images = os.path.join(directory, "nowhere")
    for result in (harness.engine("restore", "-D", images), harness.engine("verify", images),
                   harness.engine("show", images)):
        expect_refusal(result, re.escape(images), "no such|not exist|missing|ENOENT")
    harness.expect(not os.path.exists(images), "the folder was made")


def image_empty(directory):
    images = os.path.join(directory, "images")
    os.mkdir(images)
    expect_refusal(harness.engine("restore", "-D", images), re.escape(images), "inventory|no image|not an image")
    expect_refusal(harness.engine("verify", images), re.escape(images))


def dumped(directory):
    """An image of a program that is gone."""
    pid, path = counting.start(directory)
    images = os.path.join(directory, "images")
    harness.dump_and_reap(pid, images)
    return pid, path, images, sorted(name for name in os.listdir(images) if not name.endswith(".log"))


def expect_refused_image(pid, images, name):
    """Neither verify nor restore accepts it; nothing was started. stats-dump is not needed for a restore."""
    expect_refusal(harness.engine("verify", images), re.escape(name))
    if name.startswith("stats-"):
        return
    expect_refusal(harness.engine("restore", "-D", images, "-d", "-o", "restore.log"), re.escape(name))
    harness.no_helpers()
    harness.expect(not harness.exists(pid), "the refused restore left the process")


def damaged(directory, damage):
    pid, path, images, names = dumped(directory)
    for name in names:
        file = os.path.join(images, name)
        content = harness.read(file, "rb")
        for changed in damage(content):
            with open(file, "wb") as stream:
                stream.write(changed)
            expect_refused_image(pid, images, name)
        with open(file, "wb") as stream:
            stream.write(content)
    harness.must(harness.engine("verify", images))
    os.truncate(path, 10 * counting.written(path))
    harness.must(harness.restore(images))
    counting.expect_progress(path, "after the restore of the repaired image")


def image_truncated(directory):
    damaged(directory, lambda content: [content[:size] for size in
                                        {0, 1, len(content) // 2, len(content) - 1} if size < len(content)])


def image_bit_flipped(directory):
    chance = harness.seeded()

    def flip(content):
        places = {0, len(content) - 1} | {chance.randrange(len(content)) for _ in range(4)}
        for place in sorted(places):
            changed = bytearray(content)
            changed[place] ^= 1 << chance.randrange(8)
            yield bytes(changed)

    damaged(directory, flip)


def image_foreign(directory):
    """Files of another kind, and a file of another image in this one's place."""
    pid, path, images, names = dumped(directory)
    other_directory = os.path.join(directory, "other")
    os.mkdir(other_directory)
    other_pid, _, other_images, other_names = dumped(other_directory)
    for name in names:
        file = os.path.join(images, name)
        content = harness.read(file, "rb")
        foreign = [b"This is no image at all.\n" * 200, b"\x54\x56\x43\x4f" + b"\0" * 300]
        twin = name.replace(str(pid), str(other_pid))
        if twin in other_names and not name.startswith("inventory"):
            foreign.append(harness.read(os.path.join(other_images, twin), "rb"))
        for changed in foreign:
            if changed == content:
                continue
            with open(file, "wb") as stream:
                stream.write(changed)
            expect_refused_image(pid, images, name)
        with open(file, "wb") as stream:
            stream.write(content)
    os.unlink(os.path.join(images, next(name for name in names if name.startswith("core-"))))
    expect_refusal(harness.engine("restore", "-D", images, "-d"), "core-")


def pid_taken(directory):
    pid, path = counting.start(directory)
    before = harness.state_of(pid)
    images = os.path.join(directory, "images")
    harness.must(harness.dump(pid, images, "-R"))
    # The file has grown since; pid and file are two problems of the one refusal.
    expect_refusal(harness.restore(images), rf"\b{pid}\b", "counting-thread")
    expect_alive(pid, path, before, "after the refused restore")


def files_changed(directory):
    """Everything that is wrong is listed at once."""
    names = ["first", "second", "third"]
    script = os.path.join(directory, "program.sh")
    files = [os.path.join(directory, name) for name in names]
    for file in files:
        with open(file, "w") as stream:
            stream.write("0123456789")
    with open(script, "w") as stream:
        stream.write(f"exec 4<{files[0]} 5<{files[1]} 6<{files[2]}\nwhile :; do :; done\n")
    pid = harness.start(["bash", "--norc", script], os.path.join(directory, "output"))
    harness.wait_until(lambda: files[2] in harness.links(pid).values(), 10, "the files are open")
    images = os.path.join(directory, "images")
    harness.dump_and_reap(pid, images)
    os.unlink(files[0])
    with open(files[1], "a") as stream:
        stream.write("more")
    result = expect_refusal(harness.restore(images), re.escape(files[0]), re.escape(files[1]))
    harness.expect(files[2] not in result.text, f"the third file is in order: {result}")
    harness.expect(not harness.exists(pid), "the refused restore left the process")
    harness.no_helpers()
    with open(files[0], "w") as stream:
        stream.write("0123456789")
    os.truncate(files[1], 10)
    harness.must(harness.restore(images))
    harness.expect(harness.trouble_of(pid) == "", harness.trouble_of(pid))


harness.cases({name: value for name, value in list(globals().items()) if callable(value)})
