# ctest: TIMEOUT 120
# ctest: CASES threads callbacks handler framed static_program made_code deep broken time unharmed tree missing obstacle python damaged
"""Stacks of running programs and of their images, against what gdb says of the same programs."""

import json
import os
import re
import shutil
import subprocess

import harness

WORKLOADS = harness.WORKLOADS
# Without files for debuggers, whose inlined functions would be frames of their own.
GDB = ["gdb", "-nx", "-batch", "-iex", "set debug-file-directory /var/empty", "-iex", "set debuginfod enabled off",
       "-ex", "set width 0", "-ex", "set backtrace past-main on", "-ex", "set backtrace past-entry on",
       "-ex", "thread apply all backtrace 600"]


def start(directory, program, *arguments):
    output = os.path.join(directory, "output")
    pid = harness.start([program if "/" in program else os.path.join(WORKLOADS, program), *arguments], output)
    harness.wait_until(lambda: "ready" in harness.read(output), 10, "the program stands")
    return pid


def gdb_stacks(pid):
    """By thread: (address or None, name) a frame."""
    if not shutil.which("gdb"):
        raise harness.Skip("there is no gdb")
    done = subprocess.run([*GDB, "-p", str(pid)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=100)
    stacks, frames = {}, None
    for line in done.stdout.splitlines():
        thread = re.match(r"Thread \d+ \(.*?(?:LWP|process) (\d+)", line)
        if thread:
            frames = stacks.setdefault(int(thread.group(1)), [])
            continue
        if re.match(r"#\d+ +<signal handler called>", line):
            frames.append((None, "<signal>"))
            continue
        frame = re.match(r"#\d+ +(?:0x([0-9a-f]+) in )?(.*) \(.*", line)
        if frame and frames is not None:
            name = re.sub(r" \((?=\S*=).*", "", frame.group(2))
            frames.append((int(frame.group(1), 16) if frame.group(1) else None, name))
    harness.expect(stacks, f"gdb says nothing: {done.stdout}{done.stderr}")
    return stacks


def own_stacks(*arguments):
    result = harness.must(harness.engine("stacks", *arguments, "--json"))
    return json.loads(result.output)


def threads_of(stacks):
    return {int(thread["tid"]): thread for process in stacks["processes"] for thread in process["threads"]}


def names_of(thread):
    return ["<signal>" if frame.get("signal") else frame.get("function", "??") for frame in thread["frames"]]


def addresses_by_name(program):
    """Names of one address are as good as each other."""
    found = {}
    for line in subprocess.run(["nm", "-C", program], capture_output=True, text=True).stdout.splitlines():
        parts = line.split(maxsplit=2)
        if len(parts) == 3:
            found[parts[2]] = parts[0]
    return found


def compare(ours, gdbs, program, what):
    """Frame by frame: the address, and in the program itself the name; the C library has many for one function. Where a
    thread runs its innermost frame moves."""
    aliases = addresses_by_name(program)
    harness.expect(set(ours) == set(gdbs), f"{what}: threads {sorted(ours)}, gdb has {sorted(gdbs)}")
    for tid, thread in ours.items():
        mine, theirs = names_of(thread), [name for _, name in gdbs[tid]]
        both = f"{what}, thread {tid}:\n{json.dumps(thread, indent=1)}\ngdb: {gdbs[tid]}"
        harness.expect(len(mine) == len(theirs), f"{len(mine)} frames, gdb has {len(theirs)}: {both}")
        harness.expect(thread["complete"], f"not complete: {both}")
        for number, frame in enumerate(thread["frames"]):
            address, name = gdbs[tid][number]
            moves = number == 0 and thread["state"] == "running"
            if address is not None and not moves:
                harness.expect(int(frame["address"], 16) == address, f"frame {number} is elsewhere: {both}")
            if frame.get("module") == program or mine[number] == "<signal>" or name == "<signal>":
                same = mine[number] == name or (name in aliases and aliases.get(mine[number]) == aliases[name])
                harness.expect(same, f"frame {number}: {mine[number]!r}, gdb says {name!r}: {both}")


def agrees_with_gdb(directory, name, *arguments):
    """The living program and its image, which go on being the same: it stands. Returns the threads of the image."""
    program = os.path.join(WORKLOADS, name)
    pid = start(directory, name, *arguments)
    gdbs = gdb_stacks(pid)
    compare(threads_of(own_stacks("-t", pid)), gdbs, program, "running")
    images = os.path.join(directory, "images")
    harness.must(harness.dump(pid, images, "-R"))
    saved = threads_of(own_stacks(images))
    compare(saved, gdbs, program, "image")
    harness.expect(not harness.trouble_of(pid), harness.trouble_of(pid))
    return saved


def threads(directory):
    saved = agrees_with_gdb(directory, "stack-shapes", "threads")
    every = [name for thread in saved.values() for name in names_of(thread)]
    for name in ("shapes::wait_for_condition()", "shapes::sleep_long()", "shapes::spin_in_leaf(int volatile*)", "main",
                 "shapes::Ladder<long>::climb(long, void (*)())", "shapes::stand_with_threads()"):
        harness.expect(name in every, f"{name} is nowhere: {every}")
    states = sorted(thread["state"] for thread in saved.values())
    harness.expect(states == ["in clock_nanosleep", "in futex", "in futex", "running"], str(states))


def callbacks(directory):
    saved = agrees_with_gdb(directory, "stack-callbacks")
    names = names_of(next(iter(saved.values())))
    harness.expect(names[1:3] == ["stand", "compare"] and "sort_numbers" in names and "qsort" in " ".join(names),
                   str(names))


def handler(directory, program="stack-shapes"):
    saved = agrees_with_gdb(directory, program, "handler")
    names = names_of(next(iter(saved.values())))
    at = names.index("<signal>")
    harness.expect(names[at - 1] == "shapes::on_signal(int)" and names[at + 1] == "shapes::fault_in_leaf(int*)" and
                   names[at + 3] == "main", str(names))


def made_code(directory):
    pid = start(directory, "stack-shapes", "made-code")
    images = os.path.join(directory, "images")
    harness.must(harness.dump(pid, images, "-R"))
    gdbs = gdb_stacks(pid)[pid]
    for arguments in (["-t", pid], [images]):
        thread = threads_of(own_stacks(*arguments))[pid]
        names = names_of(thread)
        harness.expect(names[1:] == ["(anonymous namespace)::stand()", "shapes::called_by_made_code()", "??"], str(names))
        harness.expect(int(thread["frames"][3]["address"], 16) == gdbs[3][0], str(gdbs))
        harness.expect(not thread["complete"] and "JIT" in thread["ending"], str(thread["ending"]))
        text = harness.must(harness.engine("stacks", *arguments)).output
        harness.expect("\x1b" not in text and "ends here: this code was made by the program itself" in text, text)


def deep(directory):
    pid = start(directory, "stack-shapes", "deep")
    result = harness.must(harness.engine("stacks", "-t", pid))
    harness.expect(result.output.count("shapes::recurse(int)+") == 510 and "more than 512 frames" in result.output,
                   result.output[-500:])


def broken(directory):
    pid = start(directory, "stack-shapes", "broken")
    thread = threads_of(own_stacks("-t", pid))[pid]
    harness.expect(names_of(thread) == ["shapes::stand_on_broken_stack()", "??"], str(thread))
    harness.expect("nothing is mapped at 0x1234" in thread["ending"], str(thread))


def time(directory):
    """Most of the time is spent in the vdso."""
    pid = start(directory, "stack-shapes", "time")
    for _ in range(50):
        thread = threads_of(own_stacks("-t", pid))[pid]
        harness.expect(thread["complete"] and "shapes::ask_the_time()" in names_of(thread), str(thread))
        if thread["frames"][0].get("module") == "[vdso]":
            harness.expect(thread["frames"][0]["function"].startswith("__vdso_clock_gettime"), str(thread))
            return
    raise harness.Failure("never seen in the vdso")


def unharmed(directory):
    """Waits that any stop ends with EINTR go on, counts go on, and the pause is told."""
    waits = start(directory, "stack-shapes", "waits")
    said = os.path.join(directory, "output")
    numbers = os.path.join(directory, "numbers")
    counting = harness.start([os.path.join(WORKLOADS, "counting-threads"), numbers], os.path.join(directory, "counting"))
    harness.wait_until(lambda: harness.read(numbers).count("\n") > 100, 10, "it counts")
    before = {pid: harness.state_of(pid) for pid in (waits, counting)}
    pauses = []
    for _ in range(25):
        for pid in (waits, counting):
            pauses.append(own_stacks("-t", pid)["pause_ms"])
    for pid in (waits, counting):
        harness.expect_unharmed(pid, before[pid], "after its stacks were looked at")
    count = harness.read(numbers).count("\n")
    harness.wait_until(lambda: harness.read(numbers).count("\n") > count + 100, 10, "it goes on counting")
    lines = harness.read(numbers).splitlines()[:-1]
    harness.expect(lines == [f"{i:09d}" for i in range(len(lines))], "numbers are missing")
    harness.expect(harness.read(said) == "ready\n", f"waits have ended: {harness.read(said)}")
    print(f"pauses: median {sorted(pauses)[len(pauses) // 2]:.3f} ms, longest {max(pauses):.3f} ms")
    harness.expect(0 < min(pauses) and max(pauses) < 1000, str(pauses))


def tree(directory):
    pid = start(directory, "stack-shapes", "tree")
    images = os.path.join(directory, "images")

    def sleepers(stacks):
        return sum("shapes::sleep_long()" in names_of(thread) for thread in threads_of(stacks).values())

    harness.wait_until(lambda: sleepers(own_stacks("-t", pid)) == 2, 10, "both children sleep")
    harness.must(harness.dump(pid, images, "-R"))
    whole = own_stacks(images)
    harness.expect(len(whole["processes"]) == 3 and sleepers(whole) == 2, str(whole))
    last = int(whole["processes"][2]["pid"])
    one = own_stacks(images, last)
    harness.expect(one["processes"] == [whole["processes"][2]], str(one))
    result = harness.engine("stacks", images, 4_000_000)
    harness.expect(result.code == 2 and "no process 4000000" in result.text, str(result))
    harness.end_all_children()


def missing(directory):
    """Without its file a program's frames can be counted as far as its tables are known; from one of the same build-id
    all comes back. A stripped one has its exported names."""
    program = os.path.join(directory, "program")
    subprocess.run(["strip", "-o", program, os.path.join(WORKLOADS, "stack-callbacks")], check=True)
    pid = start(directory, program)
    running = threads_of(own_stacks("-t", pid))[pid]
    harness.expect(running["complete"] and names_of(running)[1:3] == ["??", "??"], str(running))
    harness.expect("main" not in names_of(running), str(running))
    images = os.path.join(directory, "images")
    harness.must(harness.dump(pid, images))
    harness.end_all_children()
    notes = subprocess.run(["readelf", "-n", program], capture_output=True, text=True).stdout
    build_id = re.search(r"Build ID: ([0-9a-f]+)", notes).group(1)
    os.unlink(program)
    result = harness.must(harness.engine("stacks", images))
    harness.expect("missing: " in result.output and program in result.output and build_id in result.output,
                   result.output)
    lost = threads_of(own_stacks(images))[pid]
    harness.expect(not lost["complete"] and lost["frames"][0]["function"].endswith("pause"), str(lost))
    folder = os.path.join(directory, "debug", ".build-id", build_id[:2])
    os.makedirs(folder)
    shutil.copy(os.path.join(WORKLOADS, "stack-callbacks"), os.path.join(folder, build_id[2:]))
    found = threads_of(own_stacks(images, "--debug-dir", os.path.join(directory, "debug")))[pid]
    harness.expect(found["complete"] and names_of(found)[1:3] == ["stand", "compare"] and "main" in names_of(found),
                   str(found))


def obstacle(directory):
    """A dump is refused for what a thread has, and the log has that thread's stack."""
    output = os.path.join(directory, "output")
    pid = harness.start([os.path.join(WORKLOADS, "stack-shapes"), "dispatched"], output)
    harness.wait_until(lambda: "ready" in harness.read(output) or not os.path.exists(f"/proc/{pid}/exe"), 10, "it stands")
    if "ready" not in harness.read(output):
        raise harness.Skip("the kernel has no PR_SET_SYSCALL_USER_DISPATCH")
    thread = max(int(tid) for tid in os.listdir(f"/proc/{pid}/task"))
    images = os.path.join(directory, "images")
    result = harness.engine("dump", "-t", pid, "-D", images, "-o", "dump.log")
    harness.expect(result.code == 1 and f"thread {thread} are dispatched to itself" in result.text, str(result))
    log = harness.read(os.path.join(images, "dump.log"))
    at = log.find(f"Stack of thread {thread} of process {pid}, in pause:")
    harness.expect(at >= 0 and "shapes::stand_dispatched(void*)+" in log[at:], log)
    harness.expect("shapes::stand_beside_dispatched" not in log, log)
    harness.expect(not harness.trouble_of(pid), harness.trouble_of(pid))


def damaged(directory):
    """A damaged image: an error that names the file; a hostile one: as much as can be had. Never a crash, never long."""
    pid = start(directory, "stack-shapes", "threads")
    images, forged = os.path.join(directory, "images"), os.path.join(directory, "forged")
    harness.must(harness.dump(pid, images, "-R"))
    harness.must(harness.engine("stacks", images))
    for name in sorted(os.listdir(images)):
        path = os.path.join(images, name)
        content = harness.read(path, "rb")
        middle = len(content) // 2
        for change in (content[:middle], content[:middle] + bytes([content[middle] ^ 0xff]) + content[middle + 1:]):
            with open(path, "wb") as stream:
                stream.write(change)
            result = harness.engine("stacks", images)
            harness.expect(result.code in (0, 1), str(result))
            if name.startswith(("core-", "mm-", "files", "inventory")):
                harness.expect(result.code == 1 and name in result.errors, f"{name}: {result}")
        with open(path, "wb") as stream:
            stream.write(content)
    for change, code, text in (("short_registers", 1, "have 100 bytes"), ("foreign_processor", 1, "aarch64"),
                               ("wild_registers", 0, "nothing is mapped at 0x414141414141")):
        shutil.rmtree(forged, ignore_errors=True)
        subprocess.run([os.path.join(WORKLOADS, "forge-image"), images, forged, change], check=True,
                       stdout=subprocess.DEVNULL)
        result = harness.engine("stacks", forged)
        harness.expect(result.code == code and text in result.text, f"{change}: {result}")


SCRIPT = """import os, threading, time

def outer(seconds):
    return inner(
        seconds) + 1

def inner(seconds):
    time.sleep(seconds)
    return 1

class Worker:
    def run(self):
        list(map(lambda value: outer(value), [1000]))

threading.Thread(target=Worker().run, daemon=True).start()
print("ready", flush=True)
outer(1000)
"""


def python(directory):
    script = os.path.join(directory, "sleeper.py")
    with open(script, "w") as stream:
        stream.write(SCRIPT)
    interpreter = shutil.which("python3.11", path="/usr/bin") or shutil.which("python3.11")
    if not interpreter:
        raise harness.Skip("there is no CPython 3.11")
    pid = start(directory, interpreter, script)
    harness.wait_until(lambda: len(os.listdir(f"/proc/{pid}/task")) == 2, 10, "the thread is there")
    worker = max(int(tid) for tid in os.listdir(f"/proc/{pid}/task"))
    images = os.path.join(directory, "images")

    def frames(stacks, tid):
        return [(frame["function"], frame["file"], frame["line"]) for frame in threads_of(stacks)[tid]["python"]]

    harness.wait_until(lambda: "inner" in str(frames(own_stacks("-t", pid), worker)), 10, "the thread sleeps")
    harness.must(harness.dump(pid, images, "-R"))
    for arguments in (["-t", pid], [images]):
        stacks = own_stacks(*arguments)
        expected = [("inner", script, 8), ("outer", script, 4), ("<module>", script, 17)]
        harness.expect(frames(stacks, pid) == expected, f"{frames(stacks, pid)}, expected {expected}")
        threaded = frames(stacks, worker)
        expected = [("inner", script, 8), ("outer", script, 4), ("Worker.run.<locals>.<lambda>", script, 13),
                    ("Worker.run", script, 13)]
        harness.expect(threaded[:4] == expected and [name for name, _, _ in threaded[4:]] ==
                       ["Thread.run", "Thread._bootstrap_inner", "Thread._bootstrap"], f"{threaded}")
        text = harness.must(harness.engine("stacks", *arguments)).output
        harness.expect(f"    py  inner ({script}:8)\n" in text, text)


harness.cases({"threads": threads, "callbacks": callbacks, "handler": handler,
               "framed": lambda directory: handler(directory, "stack-shapes-framed"),
               "static_program": lambda directory: handler(directory, "stack-shapes-static"), "made_code": made_code,
               "deep": deep, "broken": broken, "time": time, "unharmed": unharmed, "tree": tree, "missing": missing,
               "obstacle": obstacle, "python": python, "damaged": damaged})
