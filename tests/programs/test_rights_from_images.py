# ctest: TIMEOUT 120
# ctest: CASES ordinary_user file_capability root
"""An image asks for rights: it gets those that its user could have taken without it, and no others."""

import os
import shutil
import subprocess
import sys
import time

import harness

USER = 1000
AS_USER = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"]
FORGE = os.path.join(harness.WORKLOADS, "forge-image")

# What the refusal names.
WORDS = {
    "user": "CAP_SETUID", "effective_user": "CAP_SETUID", "saved_user": "CAP_SETUID", "file_user": "CAP_SETUID",
    "group": "CAP_SETGID", "groups": "CAP_SETGID",
    "permitted": "CAP_SYS_ADMIN", "inheritable": "CAP_SYS_ADMIN", "ambient": "CAP_SYS_ADMIN",
    "checkpoint_right": "CAP_CHECKPOINT_RESTORE",
    "no_credentials": "0 records of its user", "two_credentials": "2 records of its user",
    "real_time": "CAP_SYS_NICE", "nice": "CAP_SYS_NICE", "io_priority": "CAP_SYS_NICE", "oom": "CAP_SYS_RESOURCE",
    "deleted_file": "CAP_CHOWN",
}

PROGRAM = """
import os, sys, time
kept = open(sys.argv[1] + ".deleted", "w+")
kept.write("kept"), kept.flush()
os.unlink(sys.argv[1] + ".deleted")
open(sys.argv[1] + ".ready", "w")
while True: time.sleep(0.01)
"""


def dumped(directory, prefix):
    os.chmod(directory, 0o777)
    name = os.path.join(directory, "program")
    for path in (name + ".out", name + ".out.err"):
        open(path, "w").close()
        os.chown(path, USER, USER)
    pid = harness.start([*prefix, "/usr/bin/python3", "-c", PROGRAM, name], name + ".out", cwd=directory)
    harness.wait_until(lambda: os.path.exists(name + ".ready"), 10, "the program")
    time.sleep(0.05)
    images = os.path.join(directory, "images")
    harness.must(harness.engine("dump", "-t", pid, "-D", images, "-v4", "-o", "dump.log", prefix=prefix,
                                program=program(directory)))
    harness.wait_for(pid)
    return pid, images


def program(directory):
    path = os.path.join(directory, "mini-criu")
    if not os.path.exists(path):
        shutil.copy(harness.ENGINE, path)
        os.chmod(path, 0o755)
    return path


def forge(images, change, prefix):
    forged = f"{images}-{change}"
    shutil.rmtree(forged, ignore_errors=True)
    done = subprocess.run([*prefix, FORGE, images, forged, change], capture_output=True, text=True)
    harness.expect(done.returncode == 0, f"forge-image {change}: {done.stdout}{done.stderr}")
    return forged


def refuses_all(directory, capability=None):
    pid, images = dumped(directory, AS_USER)
    engine = program(directory)
    if capability:
        engine = os.path.join(directory, "capable")
        shutil.copy(harness.ENGINE, engine)
        os.chmod(engine, 0o755)
        if subprocess.run(["setcap", capability, engine]).returncode != 0:
            raise harness.Skip("file capabilities cannot be set here")
    before = set(os.listdir(directory))
    for change, word in WORDS.items():
        forged = forge(images, change, AS_USER)
        result = harness.engine("restore", "-D", forged, "-d", prefix=AS_USER, program=engine)
        harness.expect(result.code == 1 and word in result.text and "nothing was created" in result.text,
                       f"{change}: {result}")
        harness.expect(not harness.children(), f"{change}: something was created")
        shutil.rmtree(forged)
    harness.expect(set(os.listdir(directory)) == before, "something is left")
    # The honest one is restored, and has no more than it had.
    pidfile = os.path.join(directory, "pid")
    harness.must(harness.engine("restore", "-D", images, "-d", "--pidfile", pidfile, prefix=AS_USER, program=engine))
    now = int(harness.read(pidfile))
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        harness.expect(int(harness.field(now, name), 16) == 0, f"{name} is {harness.field(now, name)}")
    harness.kill_and_reap(now)
    harness.no_helpers()


def ordinary_user(directory):
    refuses_all(directory)


def file_capability(directory):
    refuses_all(directory, "cap_checkpoint_restore,cap_sys_ptrace,cap_dac_override,cap_setuid,cap_setgid,cap_setpcap,"
                           "cap_sys_admin,cap_chown,cap_sys_nice+ep")


def root(directory):
    """Root may give a program any user, but no image without a user, and no right that root itself lacks."""
    pid, images = dumped(directory, AS_USER)
    for change in ("no_credentials", "two_credentials"):
        result = harness.engine("restore", "-D", forge(images, change, []), "-d")
        harness.expect(result.code == 1 and WORDS[change] in result.text, f"{change}: {result}")
    missing = ["setpriv", "--bounding-set", "-sys_admin"]
    result = harness.engine("restore", "-D", forge(images, "permitted", []), "-d", prefix=missing)
    harness.expect(result.code == 1 and "CAP_SYS_ADMIN" in result.text, str(result))
    result = harness.engine("restore", "-D", images, "-d")
    harness.must(result)
    harness.expect(set(harness.field(pid, "Uid").split()) == {str(USER)}, "another user")
    harness.kill_and_reap(pid)
    harness.no_helpers()


if os.geteuid() != 0 or not shutil.which("setpriv"):
    print("SKIPPED: it takes root and setpriv to become another user")
    sys.exit(77)
harness.cases({"ordinary_user": ordinary_user, "file_capability": file_capability, "root": root})
