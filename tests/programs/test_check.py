# ctest: TIMEOUT 120
# ctest: CASES unnoticed all_at_once wrong_pids without_rights forecast image damaged_image command_line
"""`check -t PID` and `check -D DIR`: what they say, in words and as JSON, what they end with, and that nobody notices."""

import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import time

import counting
import harness


def check(*arguments, code, **options):
    result = harness.engine("check", *arguments, **options)
    harness.expect(result.code == code, f"exit code {code} was expected: {result}")
    return result


def report(*arguments, code, **options):
    result = check(*arguments, "--json", code=code, **options)
    said = json.loads(result.output)
    harness.expect(said["ok"] == (code == 0), str(result))
    return said


def start_python(directory, lines, name="program"):
    output = os.path.join(directory, name + ".out")
    program = lines + "\nimport time\nprint('ready', flush=True)\ntime.sleep(100)\n"
    pid = harness.start([sys.executable, "-c", program], output)
    harness.wait_until(lambda: "ready" in harness.read(output), 20, "the program is ready")
    return pid


WATCHED = """
import os, threading, time
seen, worst, last, go_on = set(), 0, time.monotonic(), True
def look(path):
    text = open(path).read()
    return text.split("TracerPid:")[1].split()[0]
print("ready", flush=True)
while not os.path.exists("go"):
    seen.add(look("/proc/self/status"))
open("told", "w").write(" ".join(sorted(seen)))
"""


def unnoticed(directory):
    """A program that looks at its own TracerPid all the time, and one that counts, are looked at twenty times."""
    pid, path = counting.start(directory)
    output = os.path.join(directory, "watched")
    watched = harness.start([sys.executable, "-c", WATCHED], output, cwd=directory)
    harness.wait_until(lambda: "ready" in harness.read(output), 20, "the program is ready")
    before = harness.state_of(pid)
    for _ in range(10):
        for one in (pid, watched):
            check("-t", one, code=0)
            harness.expect(not harness.trouble_of(one), harness.trouble_of(one))
    harness.expect_unharmed(pid, before, "after ten checks")
    descriptors = set(os.listdir(f"/proc/{watched}/fd"))
    harness.expect({"0", "1", "2"} <= descriptors and len(descriptors) <= 4, descriptors)  # and the file that it reads
    harness.no_helpers(pid, watched)
    open(os.path.join(directory, "go"), "w").close()
    told = harness.wait_until(lambda: harness.read(os.path.join(directory, "told")), 10, "it tells")
    harness.expect(told == "0", f"its TracerPid was {told}")
    counting.expect_progress(path, "after the checks")
    harness.kill_and_reap(pid)
    counting.expect_consecutive(path)


def all_at_once(directory):
    """Every obstacle is listed, with process, descriptor and remedy; the remedies help."""
    listener = socket.create_server(("127.0.0.1", 0))
    lines = (f"import fcntl, socket, os\nconnection = socket.create_connection(('127.0.0.1', {listener.getsockname()[1]}))\n"
             f"locked = open({os.path.join(directory, 'locked')!r}, 'w')\nfcntl.flock(locked, fcntl.LOCK_EX)\n"
             "child = os.fork()\n"
             f"named = open({os.path.join(directory, 'one')!r}, 'w')\n"
             f"if child == 0: os.link({os.path.join(directory, 'one')!r}, {os.path.join(directory, 'sub')!r} + '/two');"
             f" os.unlink({os.path.join(directory, 'one')!r})\n"
             "else: named.close(); time = __import__('time'); time.sleep(0.5)\n")
    os.mkdir(os.path.join(directory, "sub"))
    pid = start_python(directory, lines)
    time.sleep(0.3)
    said = report("-t", pid, code=1)
    reasons = [f"{one.get('pid')} {one.get('fd')} {one['object']}: {one['reason']}; {one['remedy']}"
               for one in said["problems"]]
    for option in ("--tcp-established", "--file-locks", "--link-remap"):
        harness.expect(any(option in reason for reason in reasons), f"{option} is not among {reasons}")
    harness.expect(all("pid" in one and "fd" in one for one in said["problems"]), str(reasons))
    text = check("-t", pid, code=1).output
    harness.expect("\033" not in text and "stand in the way of a dump" in text, text)
    for one in said["problems"]:
        harness.expect(one["object"] in text, f"{one['object']} is not in\n{text}")
    said = report("-t", pid, "--tcp-established", "--file-locks", "--link-remap", code=0)
    harness.expect(len(said["processes"]) == 2 and said["descriptors"]["tcp_socket"] == 2, str(said))
    harness.expect(not os.path.exists(os.path.join(directory, "sub", ".mini-criu")), "something was made")
    harness.must(harness.dump(pid, os.path.join(directory, "images"), "--tcp-established", "--file-locks", "--link-remap"))


def is_kernel_thread(pid):
    fields = harness.read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return len(fields) > 6 and int(fields[6]) & 0x00200000 != 0  # PF_KTHREAD


def wrong_pids(directory):
    zombie = os.posix_spawn("/bin/true", ["true"], os.environ)
    harness.wait_until(lambda: harness.field(zombie, "State").startswith("Z"), 10, "a zombie")
    pid, _ = counting.start(directory)
    thread = [int(tid) for tid in os.listdir(f"/proc/{pid}/task") if int(tid) != pid][0]
    kernel = [name for name in os.listdir("/proc") if name.isdigit() and is_kernel_thread(name)]
    wrong = {"there is no process": 4194303, "zombie": zombie, "one of its ancestors": os.getpid(),
             f"give -t {pid}": thread}
    if kernel:
        wrong["kernel thread"] = kernel[0]
    for words, number in wrong.items():
        result = check("-t", number, code=1)
        harness.expect(words in result.text, f"\"{words}\" was expected: {result}")
        said = json.loads(check("-t", number, "--json", code=1).output)
        harness.expect(not said["ok"] and words in said["reason"] + said["remedy"], str(said))
    itself = subprocess.run(["sh", "-c", f"exec {harness.ENGINE} check -t $$"], capture_output=True, text=True)
    harness.expect(itself.returncode == 1 and "mini-criu itself" in itself.stderr, str(itself))
    os.waitpid(zombie, 0)


def without_rights(directory):
    """Of another user: nothing can be said of it but that, and by which right it could."""
    nobody = pwd.getpwnam("nobody")
    pid, _ = counting.start(directory)
    before = harness.state_of(pid)
    os.chmod(directory, 0o755)
    program = os.path.join(directory, "mini-criu")
    with open(harness.ENGINE, "rb") as source, open(program, "wb") as copy:
        copy.write(source.read())
    os.chmod(program, 0o755)
    prefix = ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups")
    result = check("-t", pid, code=1, prefix=prefix, program=program)
    harness.expect(re.search(r"belongs to user 0 .*CAP_SYS_PTRACE is the right that is missing", " ".join(result.text.split())),
                   str(result))
    harness.expect("Rights that mini-criu lacks" in result.text, str(result))
    said = report("-t", pid, code=1, prefix=prefix, program=program)
    harness.expect(said["processes"][0]["seen"] is False and len(said["problems"]) == 1, str(said))
    harness.expect_unharmed(pid, before, "after the check of nobody")


def forecast(directory):
    """Memory that relatives share counts once; the size that was said is close to that of the image."""
    lines = "import os\nmemory = os.urandom(40 << 20)\nif os.fork() == 0: more = os.urandom(8 << 20)\n"
    pid = start_python(directory, lines)
    output = os.path.join(directory, "program.out")
    harness.wait_until(lambda: harness.read(output).count("ready") == 2, 20, "parent and child are ready")
    said = report("-t", pid, code=0)["forecast"]
    dumped = json.loads(harness.must(harness.dump(pid, os.path.join(directory, "images"), "-R", "--json")).output)
    image = dumped["bytes"]["image"]
    harness.expect(0.95 < said["image_bytes"] / image < 1.15, f"{said} for an image of {image} bytes")
    harness.expect(0 < said["live_pause_ms"] < said["pause_ms"] < said["dump_ms"], str(said))


def image(directory):
    """Each of what stands in the way is listed, and a restore says the same; without it both work."""
    library, images = os.path.join(directory, "data"), os.path.join(directory, "images")
    with open(library, "w") as out:
        out.write("x" * 100)
    port = socket.create_server(("127.0.0.1", 0)).getsockname()[1]
    pid = start_python(directory, f"import socket\nfile = open({library!r})\n"
                                  f"server = socket.create_server(('127.0.0.1', {port}))\n")
    harness.must(harness.dump(pid, images, "-R"))
    listing = sorted(os.listdir(images))
    os.truncate(library, 7)
    said = report("-D", images, code=1)
    text = check("-D", images, code=1).output
    refused = harness.restore(images)
    harness.expect(refused.code == 1, str(refused))
    for words in (f"pid {pid}", "has 7 bytes, had 100", "another socket listens there"):
        harness.expect(any(words in f"{one['object']} {one['reason']}" for one in said["problems"]), f"{words}: {said}")
        harness.expect(words in " ".join(text.split()) and words in refused.text, f"{words}: {text}{refused}")
    harness.kill_and_reap(pid)
    with open(library, "w") as out:
        out.write("x" * 100)
    said = report("-D", images, code=0)
    harness.expect(said["pid"] == pid and said["processes"] == 1, str(said))
    harness.expect(not harness.exists(pid) and set(os.listdir(images)) - set(listing) <= {"restore.log"}, "it made something")
    harness.must(harness.restore(images))
    harness.no_helpers(pid)
    os.kill(pid, signal.SIGKILL)


def damaged_image(directory):
    pid, _ = counting.start(directory)
    images = os.path.join(directory, "images")
    harness.must(harness.dump(pid, images, "-R", "-o", "/dev/null"))
    for name in sorted(os.listdir(images)):
        if name.startswith(("pages", "img-", "stats")) or not name.endswith(".img"):
            continue
        path = os.path.join(images, name)
        content = harness.read(path, "rb")
        for damaged in (content[:len(content) // 2], content[:40] + bytes([content[40] ^ 0x55]) + content[41:], b""):
            with open(path, "wb") as out:
                out.write(damaged)
            said = report("-D", images, code=1, limit=10)
            harness.expect(name in json.dumps(said), f"{name} is not named: {said}")
        with open(path, "wb") as out:
            out.write(content)
    check("-D", os.path.join(directory, "nowhere"), code=1)
    said = report("-D", images, code=1)  # whole again, and the program lives
    reasons = [one["reason"] for one in said["problems"]]
    harness.expect(all("is held by" in one or "bytes, had" in one for one in reasons), str(said))


def command_line(directory):
    for words, arguments in (("not at both", ("-t", "1", "-D", directory)), ("--feature", ("-t", "1", "--feature", "list")),
                             ("takes no operand", ("1",)), ("--tree", ("-t", "one"))):
        result = check(*arguments, code=2)
        harness.expect(words in result.text, f"\"{words}\" was expected: {result}")
    harness.expect("Looks good" in check(code=0).output, "check alone")


harness.cases({name: globals()[name] for name in
               ("unnoticed", "all_at_once", "wrong_pids", "without_rights", "forecast", "image", "damaged_image",
                "command_line")})
