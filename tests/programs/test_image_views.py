# ctest: TIMEOUT 60
# ctest: CASES views options damaged
"""`show` and `stat` against /proc: the tree, its descriptors, mappings and sockets as the kernel lists them; and what a
damaged image is told to be by each of them."""

import json
import os
import sys

import harness

FAMILY = """
import mmap, os, socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server = listener.accept()[0]
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 0))
one, two = socket.socketpair()
abstract = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
abstract.bind("\\0views-%d" % os.getpid())
ends = os.pipe()
kept = open(sys.argv[1] + "/kept \\xff\\n.txt", "ab")
zeros = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
zeros[:] = bytes(1 << 20)
equal = mmap.mmap(-1, 2 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
equal[:] = bytes(range(256)) * (2 << 12)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("/proc/self/comm", "w").write("grand\\tchild")
    open(sys.argv[1] + "/ready.%d" % os.getpid(), "w").close()
    time.sleep(1000)
server.sendall(b"waits to be read")
two.send(b"waits too")
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
open(sys.argv[1] + "/ready.%d" % os.getpid(), "w").close()
time.sleep(1000)
"""


def family(directory):
    pid = harness.start([sys.executable, "-c", FAMILY, directory], os.path.join(directory, "out"))
    harness.wait_until(lambda: len([n for n in os.listdir(directory) if n.startswith("ready.")]) == 3, 20, "the family")
    harness.wait_until(lambda: len(os.listdir(f"/proc/{pid}/task")) == 2, 5, "its thread")
    child = int(harness.read(f"/proc/{pid}/task/{pid}/children"))
    return [pid, child, int(harness.read(f"/proc/{child}/task/{child}/children"))]


def dumped(directory, pids):
    images = os.path.join(directory, "images")
    harness.must(harness.dump(pids[0], images, "-R", "--tcp-established"))
    return images


def shown(images, *options):
    return json.loads(harness.must(harness.engine("show", images, *options, "--json")).output)


def addresses(pid):
    """Of the mappings that an image may have joined or not: where each stretch of them begins and ends."""
    joined = []
    for line in harness.read(f"/proc/{pid}/maps").splitlines():
        start, end = (int(word, 16) for word in line.split()[0].split("-"))
        if line.endswith("[vsyscall]"):  # of every process, and never asked for
            continue
        if joined and joined[-1][1] == start:
            joined[-1][1] = end
        else:
            joined.append([start, end])
    return joined


def stretches(rows):
    joined = []
    for row in rows:
        start, end = int(row["start"], 16), int(row["end"], 16)
        if joined and joined[-1][1] == start:
            joined[-1][1] = end
        else:
            joined.append([start, end])
    return joined


def views(directory):
    pids = family(directory)
    images = dumped(directory, pids)
    whole, tree = shown(images), shown(images, "--tree")
    harness.expect([row["pid"] for row in tree] == pids, tree)
    for row, parent in zip(tree, [os.getpid()] + pids):
        stat = harness.read(f"/proc/{row['pid']}/stat").rpartition(")")[2].split()
        harness.expect([row["ppid"], row["pgid"], row["sid"]] == [parent, int(stat[2]), int(stat[3])], row)
        harness.expect(row["threads"] == len(os.listdir(f"/proc/{row['pid']}/task")), row)
        harness.expect(row["state"] == "runs", row)
        maps = shown(images, "--maps", row["pid"])
        harness.expect(stretches(maps) == addresses(row["pid"]), f"the mappings of {row['pid']}: {maps}")
    harness.expect(tree[2]["command"] == "grand\\x09child", tree[2])
    for pid in pids:
        rows = [row for row in shown(images, "--fds") if row["pid"] == pid]
        harness.expect([row["fd"] for row in rows] == sorted(harness.links(pid)), f"{rows}, {harness.links(pid)}")
        for row in rows:
            link = harness.links(pid)[row["fd"]]
            if link.startswith("pipe:"):
                harness.expect(row["what"] == link, f"{row}, {link}")
            elif link.startswith("/dev/null"):
                harness.expect(row["what"] == link, f"{row}, {link}")
    kept = [row for row in shown(images, "--fds") if "kept" in row["what"]]
    harness.expect(len(kept) == 3 and len({row["object"] for row in kept}) == 1, f"one open file, three times: {kept}")
    harness.expect("\\x0a.txt" in kept[0]["what"] and kept[0]["open"] == "w,append,cloexec", kept)
    sockets = [row for row in shown(images, "--sockets") if row["pid"] == pids[0]]
    links = harness.links(pids[0])
    for row in sockets:
        harness.expect(links[row["fd"]] == f"socket:[{row['inode']}]", f"{row}, {links}")
    harness.expect(len(sockets) == sum(link.startswith("socket:") for link in links.values()), sockets)
    kinds = sorted((row["kind"], row["state"]) for row in sockets)
    harness.expect(kinds == [("tcp", "established"), ("tcp", "established"), ("tcp", "listens"), ("udp", "unconnected"),
                             ("unix datagram", "unconnected"), ("unix stream", "established"),
                             ("unix stream", "established")], kinds)
    waiting = sorted(row["received_bytes"] for row in sockets if row["received_bytes"])
    harness.expect(waiting == [len("waits too"), len("waits to be read")], sockets)
    listener, ends = next(r for r in sockets if r["state"] == "listens"), [r for r in sockets if r["state"] == "established"]
    harness.expect(any(row["remote"] == listener["local"] and row["local"] != "" for row in ends), sockets)
    harness.expect(any(row["local"] == f"@views-{pids[0]}" for row in sockets), sockets)
    harness.expect(whole["sockets"] == shown(images, "--sockets") and whole["root_pid"] == pids[0], whole)
    harness.expect(0 <= whole["age_seconds"] < 60 and whole["host"] == os.uname().nodename, whole)
    stat = json.loads(harness.must(harness.engine("stat", images, "--json")).output)
    listed = sum(row["size"] for row in whole["files"])
    harness.expect(stat["bytes"] == listed == sum(row["bytes"] for row in stat["parts"]), stat)
    on_disk = sum(os.stat(os.path.join(images, n)).st_size for n in os.listdir(images) if n.endswith(".img"))
    harness.expect(listed + os.stat(os.path.join(images, "inventory.img")).st_size == on_disk, f"{listed}, {on_disk}")
    first = next(row for row in stat["processes"] if row["pid"] == pids[0])
    harness.expect(first["zero_bytes"] >= 1 << 20 and first["repeated_bytes"] >= (2 << 20) - 8192, first)
    sums = first["raw_bytes"] + first["zero_bytes"] + first["repeated_bytes"] + first["packed_bytes"]
    harness.expect(first["content_bytes"] == sums and first["stored_bytes"] < first["content_bytes"], first)
    for key in ("content_bytes", "stored_bytes"):
        harness.expect(stat[key] == sum(row[key] for row in stat["processes"]) == sum(row[key] for row in stat["kinds"]),
                       f"{key} of processes and of kinds: {stat}")
    harness.dump_and_reap(pids[0], os.path.join(directory, "packed"), "--tcp-established", "--stream", "2")
    packed = json.loads(harness.must(harness.engine("stat", os.path.join(directory, "packed"), "--json")).output)
    harness.expect(0 < packed["stored_bytes"] < stat["stored_bytes"], f"{packed['stored_bytes']}, {stat['stored_bytes']}")


def options(directory):
    """What a person reads: one line a row, in a pipe without anything but text; and what is no side of an image."""
    pids = family(directory)
    images = dumped(directory, pids)
    text = harness.must(harness.engine("show", images)).output
    for part in (f"image of process {pids[0]}", " ago", "3 processes, 4 threads", " \\_ ", "grand\\x09child",
                 "sockets", "127.0.0.1:", "files.img"):
        harness.expect(part in text, f"{part} is missing in:\n{text}")
    for side in ("--tree", "--fds", "--mem", "--sockets", f"--maps={pids[1]}"):
        text = harness.must(harness.engine("show", images, side)).output
        rows = shown(images, side)
        harness.expect(text.replace("\n", "").isprintable(), f"{side} prints control characters")
        harness.expect(len(text.splitlines()) == len(rows) + 1, f"{side}: {len(rows)} rows\n{text}")
        harness.expect(not any(line.endswith(" ") for line in text.splitlines()), f"{side} prints blanks at the end")
    both = harness.engine("show", images, "--tree", "--fds")
    harness.expect(both.code == 2 and "one side" in both.text, both)
    nobody = harness.engine("show", images, "--maps", 4194304)
    harness.expect(nobody.code == 1 and "no process 4194304" in nobody.text, nobody)
    one = harness.engine("show", os.path.join(images, "files.img"), "--fds")
    harness.expect(one.code == 2 and "folder" in one.text, one)


def damaged(directory):
    pids = family(directory)
    images = dumped(directory, pids)
    for name in (f"mm-{pids[0]}.img", "files.img", f"core-{pids[1]}.img", f"fdinfo-{pids[2]}.img"):
        path = os.path.join(images, name)
        before = harness.read(path, "rb")
        with open(path, "r+b") as stream:
            stream.seek(len(before) // 2)
            stream.write(bytes([before[len(before) // 2] ^ 1]))
        for words in (["show"], ["show", "--tree"], ["show", "--sockets"], ["stat"], ["merge", "-o", images + "2"],
                      ["export", "-o", images + ".tar"]):
            result = harness.engine(words[0], images, *words[1:])
            harness.expect(result.code == 1 and f"{name} at offset" in result.text, f"{name}, {words}: {result}")
        with open(path, "wb") as stream:
            stream.write(before)
    harness.expect(sorted(os.listdir(directory))[0] == "images" and not os.path.exists(images + "2"), os.listdir(directory))


harness.cases({"views": views, "options": options, "damaged": damaged})
