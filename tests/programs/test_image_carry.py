# ctest: TIMEOUT 120
# ctest: CASES one chain altered hostile killed merged built_upon merged_tree
"""Images as tar files and back, and a chain of images made one: what is restored is the program as it was, and a tar file
that is not as it was written leaves nothing behind."""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile

import harness
from incremental_chains import Victim


def folder(directory, name):
    return os.path.join(directory, str(name))


def contents(images):
    """Every file below it, logs aside."""
    found = {}
    for root, _, names in os.walk(images):
        for name in names:
            if not name.endswith(".log"):
                path = os.path.join(root, name)
                found[os.path.relpath(path, images)] = harness.read(path, "rb")
    return found


def export(images, tar):
    return harness.must(harness.engine("export", images, "-o", tar))


def chain_of(directory, length):
    victim = Victim(directory)
    for i in range(length):
        if i:
            victim.change()
        previous = ["--prev-images-dir", f"../{i - 1}"] if i else []
        last = i + 1 == length
        arguments = [victim.pid, folder(directory, i), "--no-sync", *previous]
        if last:
            harness.dump_and_reap(*arguments)
        else:
            harness.must(harness.dump(*arguments, "-R", "--track-mem"))
    return victim


def go_on(victim, images):
    harness.must(harness.restore(images))
    victim.check()
    victim.change()
    victim.check()


def one(directory):
    """What comes back of a tar file is, byte by byte, what went in; by a pipe too; and it is restored."""
    victim = Victim(directory, 2)
    images, tar, back = (folder(directory, name) for name in ("images", "image.tar", "back"))
    harness.dump_and_reap(victim.pid, images)
    export(images, tar)
    export(images, tar + "2")
    harness.expect(harness.read(tar, "rb") == harness.read(tar + "2", "rb"), "two exports differ")
    piped = subprocess.run([harness.ENGINE, "export", images, "-o", "-"], stdout=subprocess.PIPE, timeout=20, check=True)
    harness.expect(piped.stdout == harness.read(tar, "rb"), "what goes to a pipe is something else")
    with tarfile.open(tar) as archive:  # any tar reads it
        names = archive.getnames()
        manifest = archive.extractfile("manifest").read().decode()
        for name in names[1:]:
            digest = hashlib.blake2b(archive.extractfile(name).read(), digest_size=32).hexdigest()
            harness.expect(f"file {digest} " in manifest, f"{name} has another digest than the manifest says")
    harness.expect(names[0] == "manifest" and "inventory.img" in names, names)
    harness.must(harness.engine("import", tar, "-D", back))
    harness.expect(contents(back) == contents(images), "the image has changed on its way")
    os.mkdir(back + "2")  # an empty folder may be there
    subprocess.run([harness.ENGINE, "import", "-", "-D", back + "2"], input=piped.stdout, timeout=20, check=True)
    harness.expect(contents(back + "2") == contents(images), "the image has changed on its way through a pipe")
    again = harness.engine("import", tar, "-D", back)
    harness.expect(again.code == 1 and "not empty" in again.text, again)
    shutil.rmtree(images)
    go_on(victim, back)


def chain(directory):
    """A chain travels whole: its last image is restored where nothing else of it is."""
    victim = chain_of(directory, 3)
    tar, back = folder(directory, "chain.tar"), folder(directory, "back")
    export(folder(directory, 2), tar)
    for i in range(3):
        shutil.rmtree(folder(directory, i))
    harness.must(harness.engine("import", tar, "-D", back))
    harness.must(harness.engine("verify", back))
    export(back, tar + "2")
    harness.expect(harness.read(tar, "rb") == harness.read(tar + "2", "rb"), "an imported chain is exported otherwise")
    go_on(victim, back)


def merged(directory):
    """Three images are one, which is the same as the last of them, needs none of them, and can be built upon."""
    victim = chain_of(directory, 3)
    new = folder(directory, "new")
    print(harness.must(harness.engine("merge", folder(directory, 2), "-o", new)).output)
    same = harness.engine("diff", folder(directory, 2), new)
    harness.expect(same.code == 0, f"the merged image holds something else: {same}")
    size = lambda images: sum(len(content) for content in contents(images).values())
    harness.expect(size(new) < sum(size(folder(directory, i)) for i in range(3)), "nothing is stored once only")
    onto_itself = harness.engine("merge", folder(directory, 2), "-o", folder(directory, 1))
    harness.expect(onto_itself.code == 1 and "is to be merged" in onto_itself.text, onto_itself)
    for i in range(3):
        shutil.rmtree(folder(directory, i))
    harness.must(harness.engine("verify", new))
    go_on(victim, new)
    harness.dump_and_reap(victim.pid, new + "2")
    harness.must(harness.restore(new + "2"))
    victim.check()


def merged_tree(directory):
    """Two processes with pages in common, and images in plain files and in streams by turns."""
    victim = Victim(directory, 2)
    for i in range(3):
        victim.change()
        options = [*(["--prev-images-dir", f"../{i - 1}"] if i else []), *(["--stream", "2"] if i % 2 else [])]
        harness.must(harness.dump(victim.pid, folder(directory, i), "-R", "--no-sync", "--track-mem", *options))
    for pid in victim.everybody():
        os.kill(pid, signal.SIGKILL)
    harness.end_all_children()
    new = folder(directory, "new")
    harness.must(harness.engine("merge", folder(directory, 2), "-o", new))
    same = harness.engine("diff", folder(directory, 2), new)
    harness.expect(same.code == 0, f"the merged image holds something else: {same}")
    for i in range(3):
        shutil.rmtree(folder(directory, i))
    harness.must(harness.engine("verify", new))
    go_on(victim, new)


def built_upon(directory):
    """A merged image takes the place of the chain: the program goes on, and the next image builds upon it."""
    victim = Victim(directory)
    for i in range(2):
        victim.change()
        previous = ["--prev-images-dir", f"../{i - 1}"] if i else []
        harness.must(harness.dump(victim.pid, folder(directory, i), "-R", "--no-sync", "--track-mem", *previous))
    new, after = folder(directory, "new"), folder(directory, "after")
    harness.must(harness.engine("merge", folder(directory, 1), "-o", new))
    for i in range(2):
        shutil.rmtree(folder(directory, i))
    victim.change()
    harness.dump_and_reap(victim.pid, after, "--prev-images-dir", "../new")
    parts = json.loads(harness.must(harness.engine("stat", after, "--json")).output)["processes"]
    harness.expect(parts[0]["parent_bytes"] > parts[0]["stored_bytes"] > 0, f"nothing lies in the merged image: {parts}")
    go_on(victim, after)


def expect_refused(directory, tar, what):
    """Refused, and nothing is there, or anywhere near."""
    before = sorted(os.listdir(directory))
    result = harness.engine("import", tar, "-D", folder(directory, "back"))
    harness.expect(result.code == 1 and len(result.errors) > 20, f"{what}: {result}")
    harness.expect(sorted(os.listdir(directory)) == before, f"{what}: something is left: {os.listdir(directory)}")
    return result


def altered(directory):
    """A byte changed in every part of the tar file, and a file cut off at many places."""
    victim = Victim(directory)
    images, tar = folder(directory, "images"), folder(directory, "image.tar")
    harness.must(harness.dump(victim.pid, images, "-R", "--no-sync"))
    export(images, tar)
    whole = harness.read(tar, "rb")
    with tarfile.open(tar) as archive:
        places = [(member.name, member.offset_data + member.size // 2) for member in archive]
        places += [(member.name + "'s name", member.offset + 1) for member in archive]
    bad = folder(directory, "bad.tar")
    for name, at in places:
        with open(bad, "wb") as stream:
            stream.write(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
        expect_refused(directory, bad, f"{name} with another byte at {at}")
    chance = harness.seeded()
    end = places[len(places) // 2 - 1][1]
    for length in [0, 1, 511, 512, 600, end] + [chance.randrange(end) for _ in range(12)]:
        with open(bad, "wb") as stream:
            stream.write(whole[:length])
        expect_refused(directory, bad, f"cut off after {length} bytes")


def manifest_of(files):
    text = "mini-criu export 1\nimage 00\n"
    for name, content in files:
        text += f"file {hashlib.blake2b(content, digest_size=32).hexdigest()} {len(content)} {name}\n"
    return (text + f"end {hashlib.blake2b(text.encode(), digest_size=32).hexdigest()}\n").encode()


def tar_of(path, members):
    """Members: (name, content) or a TarInfo."""
    with tarfile.open(path, "w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            archive.addfile(info, io.BytesIO(member[1]))


def link(name, kind, target):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def hostile(directory):
    """Names that lead out of the folder, links, files that the manifest lacks or has otherwise, and lies about sizes."""
    tar, outside = folder(directory, "bad.tar"), folder(directory, "outside")
    with open(outside, "w") as stream:
        stream.write("untouched")
    inventory = ("inventory.img", b"nothing")

    def expect_bad(what, members, *words):
        tar_of(tar, members)
        result = expect_refused(directory, tar, what)
        harness.expect(all(word in result.text for word in words), f"{what}: {result}")
        harness.expect(harness.read(outside) == "untouched", f"{what}: a file outside was written to")

    for name in ("../outside", "/" + outside, "a/../../outside", "parent-1/../../outside", ".hidden", "parent-0/x.img",
                 "parent-1001/x.img", "a/b", "x\\y", "parent-01/x.img"):
        expect_bad(name, [("manifest", manifest_of([inventory, (name, b"evil")])), inventory, (name, b"evil")],
                   "is no name in an image")
        expect_bad(f"{name}, not listed", [("manifest", manifest_of([inventory])), inventory, (name, b"evil")],
                   "not in the manifest")
    one_more = ("core-1.img", b"evil")
    listed = ("manifest", manifest_of([one_more, inventory]))
    expect_bad("a symbolic link", [listed, link("core-1.img", tarfile.SYMTYPE, outside), inventory], "no plain file")
    expect_bad("a hard link", [listed, link("core-1.img", tarfile.LNKTYPE, outside), inventory], "no plain file")
    expect_bad("a folder", [listed, link("core-1.img", tarfile.DIRTYPE, ""), inventory], "no plain file")
    expect_bad("a device", [listed, link("core-1.img", tarfile.CHRTYPE, ""), inventory], "no plain file")
    expect_bad("another order", [listed, inventory, one_more], "in its place")
    expect_bad("another size", [listed, ("core-1.img", b"evil!"), inventory], "the manifest says")
    expect_bad("another content", [listed, ("core-1.img", b"EVIL"), inventory], "not what the manifest says")
    expect_bad("a file less", [listed, one_more], "ends before it")
    expect_bad("no manifest", [inventory], "no manifest")
    expect_bad("nothing", [], "empty")
    expect_bad("no inventory", [("manifest", manifest_of([one_more])), one_more], "inventory.img")
    expect_bad("a gap between images", [("manifest", manifest_of([inventory, ("parent-2/inventory.img", b"x")])),
                                        inventory, ("parent-2/inventory.img", b"x")], "lacks an image")
    expect_bad("a file called as a folder", [("manifest", manifest_of([inventory, ("parent-1", b"x")])), inventory,
                                             ("parent-1", b"x")], "parent-1")
    expect_bad("a name twice", [("manifest", manifest_of([inventory, inventory])), inventory, inventory], "twice")
    expect_bad("no image", [("manifest", manifest_of([inventory])), inventory], "inventory.img")
    huge = tarfile.TarInfo("manifest")
    huge.size = 1 << 50
    with open(tar, "wb") as stream:
        stream.write(huge.tobuf())
    expect_refused(directory, tar, "a manifest of a petabyte")
    tar_of(tar, [listed])
    with open(tar, "rb") as stream:
        start = stream.read(2 * 512)
    info = tarfile.TarInfo("core-1.img")
    info.size = 8 << 30
    with open(tar, "wb") as stream:
        stream.write(start + info.tobuf())
    expect_refused(directory, tar, "a file of more than there is")


def killed(directory):
    """An import that is killed leaves no folder, and the next one removes what it has begun."""
    victim = Victim(directory)
    images, tar, back = (folder(directory, name) for name in ("images", "image.tar", "back"))
    harness.must(harness.dump(victim.pid, images, "-R", "--no-sync"))
    export(images, tar)
    chance = harness.seeded()
    left = 0
    for i in range(15):
        code = harness.run_killed(["import", tar, "-D", back], chance.uniform(0, 0.03))
        if os.path.exists(back):
            harness.must(harness.engine("verify", back))
            shutil.rmtree(back)
        left += any(name.startswith(".mini-criu-import-") for name in os.listdir(directory))
        harness.expect(code in (0, -signal.SIGKILL), f"the import ended with {code}")
    print(f"{left} times of 15 something was left behind")
    harness.must(harness.engine("import", tar, "-D", back))
    hidden = [name for name in os.listdir(directory) if name.startswith(".")]
    harness.expect(not hidden, f"left: {hidden}")
    harness.expect(contents(back) == contents(images), "the image has changed on its way")


harness.cases({"one": one, "chain": chain, "merged": merged, "altered": altered, "hostile": hostile, "killed": killed,
               "built_upon": built_upon, "merged_tree": merged_tree})
