"""`core`: gdb finds in the core what it finds in the living program; what is missing is said; damage is found."""
# ctest: TIMEOUT 240
# ctest: CASES living stopped_leader without_files chain shared_memory options damaged

import json
import os
import re

import debugger as d
import harness as h

# Not k0 to k7: gdb before 14 takes them from where Intel has them, of a living program on any CPU.
GENERAL = ("thread apply all info registers rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip eflags cs ss "
           "ds es fs gs fs_base gs_base orig_rax")
# What does not change in the program while it lives. gdb names some of it otherwise for a core.
STATE = ["thread apply all bt", GENERAL, "thread apply all info registers float",
         "thread apply all p/x $ymm0", "thread apply all p/x $ymm7", "thread apply all p/x $ymm15",
         "thread apply all p $mxcsr", "info auxv"]
MEMORY = ["private_text", "shared_text", "file_text", "changed_file_text", "changed_file_text + 4096", "memfd_text",
          "deleted_text", "untouched"]
TEXTS = [f"x/s {name}" for name in MEMORY] + ["x/40xb untouched + 4000", "x/16i stand_in_registers", "p steps > 0",
                                              "x/8xg $sp", "p folder"]


def core(images, pid, file, *more):
    return h.engine("core", images, *([pid] if pid else []), "-o", file, *more)


def mappings(text):
    """(start, end, file) of `info proc mappings`, of named files."""
    found = re.findall(r"^\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)\s+0x[0-9a-f]+\s+0x[0-9a-f]+\s+(?:[rwxps-]{4}\s+)?(/.*)$", text, re.M)
    return {(start, end, name.strip()) for start, end, name in found}


def compare(living, of_core, commands):
    for command in commands:
        if not command.startswith("thread apply"):
            h.expect(living[command] == of_core[command],
                     f"{command}: the living program\n{living[command]}\nthe core\n{of_core[command]}")
            continue
        ours, theirs = d.threads_of(of_core[command]), d.threads_of(living[command])
        h.expect(len(theirs) == 4 and ours.keys() == theirs.keys(), f"{command}: threads {theirs} and {ours}")
        for lwp, lines in theirs.items():
            h.expect(ours[lwp] == lines, f"{command}, thread {lwp}: living\n" + "\n".join(lines) +
                     "\ncore\n" + "\n".join(ours[lwp]))


def living(directory):
    d.require_gdb()
    pid = d.start_debugged(directory)
    program, file = os.path.realpath(f"{h.WORKLOADS}/debugged-program"), os.path.join(directory, "core")
    images = os.path.join(directory, "images")
    commands = STATE + ["info proc mappings"]
    before = d.answers(d.gdb(["-p", pid], *commands), commands)
    main = d.answers(d.gdb(["-p", pid], "up 20", *TEXTS), TEXTS)
    h.dump_and_reap(pid, images)
    printed = h.must(core(images, pid, file)).output
    h.expect("4 threads" in printed and f"gdb {program} {file}" in printed, printed)
    text = d.gdb([program, file], *commands)
    after = d.answers(text, commands)
    compare(before, after, STATE)
    missing = mappings(before["info proc mappings"]) - mappings(after["info proc mappings"])
    h.expect(not missing and mappings(before["info proc mappings"]), f"mappings that the core lacks: {missing}")
    compare(main, d.answers(d.gdb([program, file], "up 20", *TEXTS), TEXTS), TEXTS)
    # It is what it is to be, and not only alike.
    bt = after["thread apply all bt"]
    for frame in ("stand_in_registers", "stand_in_vectors", "shop::Ledger<shop::Order>::wait", "pause"):
        h.expect(re.search(rf"#0 .*{re.escape(frame)}|#1 .*{re.escape(frame)}", bt), f"{frame} is in no thread:\n{bt}")
    h.expect("0x2222222222222222" in after[GENERAL], "rbx")
    h.expect("0xa7a6a5a4a3a2a1a0" in after["thread apply all p/x $ymm0"], "ymm0")
    threads = d.gdb([program, file], "info threads")
    h.expect(re.search(rf"\* 1 .*LWP {pid}\b", threads), f"the main thread does not come first:\n{threads}")
    again = core(images, pid, file)
    h.expect(again.code == 1 and "exists already" in again.errors and "--force" in again.errors, str(again))
    h.must(core(images, None, file, "--force"))
    h.expect(os.stat(file).st_mode & 0o777 == 0o600, "others may read the core")
    h.expect(sorted(os.listdir(directory)) == ["core", "files", "images", "output", "output.err"],
             f"left over: {os.listdir(directory)}")


# Without its leader, which has ended: the others are there.
def stopped_leader(directory):
    d.require_gdb()
    pid = d.start_workload("threads_leader_ended", os.path.join(directory, "state"))
    images, file = os.path.join(directory, "images"), os.path.join(directory, "core")
    h.must(h.dump(pid, images, "-R"))
    h.must(core(images, pid, file))
    text = d.gdb([f"{h.WORKLOADS}/threads_leader_ended", file], "info threads")
    h.expect("sigtimedwait" in text and "clock_nanosleep" in text, text)
    h.expect(not re.search(rf"LWP {pid}\) 0x", text), f"the leader had ended: {text}")
    h.kill_and_reap(pid)


# The files have gone or changed: said, and what the program has of its own is there; with --with-files all is inside.
def without_files(directory):
    d.require_gdb()
    pid = d.start_debugged(directory)
    images, file = os.path.join(directory, "images"), os.path.join(directory, "core")
    h.dump_and_reap(pid, images)
    program = f"{h.WORKLOADS}/debugged-program"
    whole = os.path.join(directory, "whole")
    h.must(core(images, pid, whole, "--with-files"))
    h.expect(os.stat(whole).st_size > 1 << 20, "the libraries are not in the core")
    changed, gone = (os.path.join(directory, "files", name) for name in ("shared", "private"))
    with open(changed, "a") as stream:
        stream.write("more")
    os.remove(gone)
    result = h.must(core(images, pid, file))
    h.expect(f"not in it: {changed} has 8196 bytes, had 8192 at the dump" in result.output, str(result))
    h.expect(f"not in it: {gone} cannot be read" in result.output, str(result))
    names = ["x/s file_text", "x/s changed_file_text", "x/s changed_file_text + 4096", "x/s memfd_text"]
    found = d.answers(d.gdb([program, file], *names), names)
    h.expect("changed in memory" in found[names[2]] and "in a memfd" in found[names[3]], f"{found}")
    h.expect("as it was" not in found[names[1]], f"{found}")
    found = d.answers(d.gdb([program, whole], *names), names)
    h.expect("in a file" in found[names[0]] and "as it was" in found[names[1]], f"{found}")
    data = json.loads(h.must(core(images, pid, file, "--force", "--json")).output)
    h.expect(data["ok"] and data["threads"] == 4 and len(data["missing"]) == 2, f"{data}")


# Compressed, in several files, and one image upon another.
def chain(directory):
    d.require_gdb()
    pid = d.start_debugged(directory)
    program = f"{h.WORKLOADS}/debugged-program"
    names = ["bt", "x/s private_text", "x/s shared_text", "x/s changed_file_text + 4096", "thread apply all p/x $ymm7"]
    seen = []
    for number, options in enumerate((["--track-mem", "-R"], ["--prev-images-dir", "../images-0", "-R"],
                                      ["--stream", "3", "-R"])):
        images, file = (os.path.join(directory, f"{what}-{number}") for what in ("images", "core"))
        h.must(h.dump(pid, images, *options))
        h.must(core(images, pid, file))
        seen.append(d.answers(d.gdb([program, file], *names), names))
    h.expect("private memory" in seen[0]["x/s private_text"], f"{seen[0]}")
    h.expect(seen[0] == seen[1] == seen[2], f"the cores differ: {seen}")
    h.kill_and_reap(pid)


# A process that shares the memory of another, and one that has its pages from its parent.
def shared_memory(directory):
    for workload in ("tree_shared_vm", "tree_forked_pages"):
        images = os.path.join(directory, f"{workload}.images")
        pid = d.start_workload(workload, os.path.join(directory, workload))
        h.must(h.dump(pid, images, "-R"))
        pids = [int(name[5:-4]) for name in os.listdir(images) if name.startswith("core-")]
        h.expect(len(pids) > 1, f"{workload} has one process")
        for one in pids:
            file = os.path.join(directory, f"{workload}.{one}")
            result = core(images, one, file)
            if result.code:
                h.expect("had ended before the dump" in result.errors, str(result))
                continue
            compare_memory(images, one, file)
        os.kill(pid, 9)
        h.end_all_children()


def compare_memory(images, pid, file):
    """The stacks in the core against those of the living process: both stand in the kernel."""
    data = h.read(file, "rb")
    for line in h.read(f"/proc/{pid}/maps").splitlines():
        if "[heap]" not in line and "[stack]" not in line:
            continue
        start, end = (int(word, 16) for word in line.split()[0].split("-"))
        with open(f"/proc/{pid}/mem", "rb") as memory:
            memory.seek(end - 4096)
            h.expect(memory.read(4096) == bytes_at(data, end - 4096, 4096), f"{file}: {line}")


def bytes_at(core_file, address, count):
    headers, number = int.from_bytes(core_file[32:40], "little"), int.from_bytes(core_file[56:58], "little")
    for i in range(number):
        entry = core_file[headers + i * 56:headers + (i + 1) * 56]
        kind = int.from_bytes(entry[:4], "little")
        offset, start, _, stored, size = (int.from_bytes(entry[8 * k:8 * k + 8], "little") for k in range(1, 6))
        if kind == 1 and start <= address < start + size:
            part = core_file[offset + address - start:offset + stored][:count]
            return part + bytes(count - len(part))
    return None


def options(directory):
    images = os.path.join(directory, "images")
    pid = h.start([f"{h.WORKLOADS}/counting-loop"], os.path.join(directory, "output"))
    h.must(h.dump(pid, images, "-R"))
    h.kill_and_reap(pid)
    for arguments, code, words in ((["core", images], 2, "needs the name of a file"),
                                   (["core", images, "1", "-o", f"{directory}/c"], 2, f"it has {pid}"),
                                   (["core", images, "x", "-o", f"{directory}/c"], 2, "x is no pid"),
                                   (["core", images, "-o", "-"], 2, "cannot go through a pipe"),
                                   (["core", images, "-o", directory], 1, "it is no plain file"),
                                   (["core", images, "-o", f"{directory}/none/c"], 1, "none"),
                                   (["core", f"{directory}/nothing", "-o", f"{directory}/c"], 1, "nothing")):
        result = h.engine(*arguments)
        h.expect(result.code == code and words in result.errors, f"{result} instead of {code} and {words}")
    h.must(h.engine("core", "-D", images, pid, "--output", f"{directory}/c"))
    h.expect(sorted(os.listdir(directory)) == ["c", "images", "output", "output.err"], f"{os.listdir(directory)}")


# Bytes of an image flipped: the same core, or an error that names a file, in no time and no memory to speak of.
def damaged(directory):
    random = h.seeded()
    images, file, good = (os.path.join(directory, name) for name in ("images", "core", "good"))
    pid = h.start([f"{h.WORKLOADS}/counting-loop"], os.path.join(directory, "output"))
    h.must(h.dump(pid, images, "-R"))
    h.kill_and_reap(pid)
    h.must(core(images, pid, good))
    errors = 0
    for name in sorted(os.listdir(images)):
        path = os.path.join(images, name)
        if not name.endswith(".img"):
            continue
        whole = h.read(path, "rb")
        for _ in range(8):
            at = random.randrange(len(whole))
            with open(path, "r+b") as stream:
                stream.seek(at)
                stream.write(bytes([whole[at] ^ 1 << random.randrange(8)]))
            result = h.engine("core", images, "-o", file, "--force", prefix=["prlimit", "--as=1000000000"])
            if result.code:
                errors += 1
                h.expect(result.code == 1 and name in result.errors, f"byte {at} of {name}: {result}")
                h.expect(result.took < 5, f"byte {at} of {name} took {result.took} s")
            else:
                h.expect(h.read(file, "rb") == h.read(good, "rb"), f"byte {at} of {name} changes the core")
            with open(path, "wb") as stream:
                stream.write(whole)
    h.expect(errors > 10, f"only {errors} errors")


h.cases({"living": living, "stopped_leader": stopped_leader, "without_files": without_files, "chain": chain,
         "shared_memory": shared_memory, "options": options, "damaged": damaged})
