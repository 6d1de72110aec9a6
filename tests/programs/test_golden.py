# ctest: TIMEOUT 120
# ctest: CASES verify show missing_program restored flipped_bits
"""The golden image of format version 1: every later version verifies, shows and restores it."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys

import harness

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden"))
import golden  # noqa: E402

IMAGE = os.path.join(golden.HERE, "v1")
ANY_CPU = "--cpu-cap=none"  # it uses no register that a newer CPU has brought


def verify(directory):
    result = harness.must(harness.engine("verify", IMAGE))
    harness.expect(re.search(r"OK: \d+ files, \d+ records", result.text), f"{result}")


def show(directory):
    output = golden.without_age(harness.must(harness.engine("show", IMAGE)).output)
    with open(os.path.join(golden.HERE, "v1.txt"), encoding="utf-8") as text:
        harness.expect(output == text.read(), f"it is shown in another way:\n{output}")
    for name in sorted(os.listdir(IMAGE)):
        shown = harness.must(harness.engine("show", os.path.join(IMAGE, name)))
        harness.expect(shown.output.startswith("["), f"{name}: {shown}")


def free_pids():
    """The pids of the image; taken ones may be free a moment later."""
    def free():
        return not any(os.path.exists(f"/proc/{pid}") for pid in (golden.PID, golden.PID + 1))
    try:
        harness.wait_until(free, 20, "free pids")
    except harness.Failure as taken:
        raise harness.Skip(f"pid {golden.PID} is in use") from taken


def restore(image, *options):
    return harness.engine("restore", "-D", image, "-d", ANY_CPU, *options)


def reasons_of_host(result):
    """What this host lacks of the one that made the image: hard limits, registers. Empty: something else is wrong."""
    problems = re.findall(r"Problem: (.*)", result.text)
    of_host = [one for one in problems if re.search(r"RLIMIT_\w+: was|registers of another kind of CPU", one)]
    return "; ".join(of_host) if of_host == problems else ""


def missing_program(directory):
    """Everything is read and checked; what is missing is the program's own file."""
    free_pids()
    result = restore(IMAGE)
    harness.expect(result.code == 1 and re.search(r"still: file missing", result.text), f"{result}")
    harness.expect("nothing was created" in result.text, f"{result}")


def restored(directory):
    free_pids()
    with golden.home():
        shutil.copy(os.path.join(golden.HERE, "still"), golden.PROGRAM)
        result = restore(IMAGE)
        if result.code != 0 and reasons_of_host(result):
            raise harness.Skip(reasons_of_host(result))
        harness.must(result)
        os.kill(golden.PID, signal.SIGTERM)
        harness.wait_until(lambda: [n for n in os.listdir(golden.HOME) if n.startswith("run.")], 10, "its result")
        found = [name for name in os.listdir(golden.HOME) if name.startswith("run.")]
        harness.expect(found == ["run.passed"], f"{found}")


def bits_to_flip(image):
    """(file, byte, bit): of every header and every closing record all that a quick test allows, of the rest some."""
    chosen = random.Random(1)
    for name in sorted(os.listdir(image)):
        size = os.path.getsize(os.path.join(image, name))
        places = set(range(0, 48, 3)) | set(range(max(size - 24, 0), size, 3))
        places |= {chosen.randrange(size) for _ in range(20)}
        for at in sorted(place for place in places if place < size):
            yield name, at, chosen.randrange(8)


def flipped_bits(directory):
    """The real command, on copies with one bit flipped: `restore` refuses each and leaves no process. On a host that
    refuses the image as it is, `verify` is asked."""
    free_pids()
    image = os.path.join(directory, "image")
    shutil.copytree(IMAGE, image)
    with golden.home():
        shutil.copy(os.path.join(golden.HERE, "still"), golden.PROGRAM)
        result, read = restore(image), restore
        if result.code == 0:
            os.kill(golden.PID, signal.SIGTERM)
            harness.wait_until(lambda: not os.path.exists(f"/proc/{golden.PID}"), 10, "its end")
        elif reasons_of_host(result):
            print(f"verify is asked: {reasons_of_host(result)}")
            read = lambda folder: harness.engine("verify", folder)  # noqa: E731
        count = 0
        for name, at, bit in bits_to_flip(image):
            path = os.path.join(image, name)
            with open(path, "r+b") as file:
                file.seek(at)
                old = file.read(1)
                file.seek(at)
                file.write(bytes([old[0] ^ 1 << bit]))
            result = read(image)
            harness.expect(result.code != 0, f"{name} byte {at} bit {bit}: restored all the same")
            harness.expect(name in result.text, f"{name} byte {at} bit {bit}: the message does not name it: {result}")
            with open(path, "r+b") as file:
                file.seek(at)
                file.write(old)
            count += 1
        print(f"{count} bits flipped")
        left = subprocess.run(["pgrep", "-x", "still"], capture_output=True, text=True, check=False).stdout
        harness.expect(not left, f"left behind: {left}")


harness.run({"verify": verify, "show": show, "missing_program": missing_program, "restored": restored,
             "flipped_bits": flipped_bits}[harness.CASE])
