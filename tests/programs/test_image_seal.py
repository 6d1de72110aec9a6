# ctest: TIMEOUT 120
# ctest: CASES tampered chain restored keys
"""A sealed image: every change of it is found and named, by `verify --key` and by `restore --key`; a key is for its owner
alone."""

import os
import shutil

import harness
from incremental_chains import Victim


def folder(directory, name):
    return os.path.join(directory, str(name))


def key_of(directory, name="key"):
    path = folder(directory, name)
    if not os.path.exists(path):
        harness.must(harness.engine("keygen", path))
    return path


def verify(images, key):
    return harness.engine("verify", images, "--key", key)


def flip(path, at):
    with open(path, "r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)[0]
        stream.seek(at)
        stream.write(bytes([byte ^ 1]))


def expect_found(images, key, what, *words):
    result = verify(images, key)
    harness.expect(result.code == 1 and all(word in result.text for word in words), f"{what}: {result}")


def sealed(directory):
    victim = Victim(directory)
    images, key = folder(directory, "images"), key_of(directory)
    harness.must(harness.dump(victim.pid, images, "-R", "--no-sync"))
    harness.must(harness.engine("seal", images, "--key", key))
    harness.must(verify(images, key))
    return victim, images, key


def tampered(directory):
    """One bit of each file, first, middle and last byte; files that come, go and change their names."""
    _, images, key = sealed(directory)
    files = sorted(name for name in os.listdir(images) if not name.endswith(".log"))
    for name in files:
        path = os.path.join(images, name)
        size = os.stat(path).st_size
        for at in (0, size // 2, size - 1):
            flip(path, at)
            expect_found(images, key, f"byte {at} of {name}", "seal" if name == "seal" else f"{images}/{name}")
            flip(path, at)
        with open(path, "ab") as stream:
            stream.write(b"\n")
        expect_found(images, key, f"{name} with a byte more", name)
        os.truncate(path, size)
    harness.must(verify(images, key))
    for name in files:
        path = os.path.join(images, name)
        if name == "seal":
            continue
        os.rename(path, path + ".new")
        expect_found(images, key, f"{name} renamed", f"{images}/{name}: it was renamed", f"{name}.new")
        os.rename(path + ".new", folder(directory, "away"))
        expect_found(images, key, f"{name} gone", f"{images}/{name}: it was removed")
        os.rename(folder(directory, "away"), path)
    for name in ("core-1.img", ".commit", "job.json"):
        path = os.path.join(images, name)
        (os.mkdir if name == ".commit" else lambda p: open(p, "w").close())(path)
        expect_found(images, key, f"{name} added", f"{images}/{name}: it was added")
        (os.rmdir if name == ".commit" else os.unlink)(path)
    swapped = [os.path.join(images, name) for name in ("files.img", "inventory.img")]
    contents = [harness.read(path, "rb") for path in swapped]
    for path, content in zip(swapped, reversed(contents)):
        with open(path, "wb") as stream:
            stream.write(content)
    expect_found(images, key, "two files swapped", *swapped)
    for path, content in zip(swapped, contents):
        with open(path, "wb") as stream:
            stream.write(content)
    os.rename(swapped[0], folder(directory, "away"))
    os.symlink(folder(directory, "away"), swapped[0])
    expect_found(images, key, "a link to the same content", swapped[0], "symbolic link")
    os.unlink(swapped[0])
    os.rename(folder(directory, "away"), swapped[0])
    os.unlink(os.path.join(images, "seal"))
    expect_found(images, key, "no seal", "is not sealed")


def restored(directory):
    victim, images, key = sealed(directory)
    refused = harness.engine("seal", images, "--key", key_of(directory, "another"))
    harness.expect(refused.code == 1 and "is sealed with the key" in refused.text, refused)
    harness.kill_and_reap(victim.pid)
    pages = next(os.path.join(images, name) for name in os.listdir(images) if name.startswith("pages-"))
    flip(pages, os.stat(pages).st_size - 1)
    result = harness.restore(images, "--key", key)
    harness.expect(result.code == 1 and pages in harness.read(f"{images}/restore.log"), result)
    harness.expect(not harness.exists(victim.pid), "an altered image was restored")
    refused = harness.engine("unseal", images, "--key", key)
    harness.expect(refused.code == 1 and os.path.exists(f"{images}/seal"), refused)
    flip(pages, os.stat(pages).st_size - 1)
    harness.must(harness.restore(images, "--key", key))
    victim.check()
    harness.must(verify(images, key))  # the logs in the folder are no part of what is sealed
    harness.kill_and_reap(victim.pid)
    harness.must(harness.restore(images))
    said = harness.read(f"{images}/restore.log")
    harness.expect("without --key its seal is not checked" in said, said)
    victim.check()
    said = harness.must(harness.engine("verify", images)).output
    harness.expect("the seal is not checked" in said, said)
    harness.must(harness.engine("unseal", images, "--key", key))
    harness.expect(not os.path.exists(f"{images}/seal"), "the seal is still there")
    harness.must(harness.engine("verify", images))
    harness.kill_and_reap(victim.pid)
    result = harness.restore(images, "--key", key)
    harness.expect(result.code == 1 and "is not sealed" in result.text + harness.read(f"{images}/restore.log"), result)


def chain(directory):
    """With an image all that it builds upon is sealed, and checked. One image made of them has a seal of its own, which
    travels with it."""
    victim, key = Victim(directory), key_of(directory)
    for i in range(3):
        if i:
            victim.change()
        previous = ["--prev-images-dir", f"../{i - 1}"] if i else []
        harness.must(harness.dump(victim.pid, folder(directory, i), "-R", "--no-sync", "--track-mem", *previous))
    last = folder(directory, 2)
    harness.must(harness.engine("seal", last, "--key", key))
    harness.must(verify(last, key))
    first = folder(directory, 0)
    pages = next(name for name in os.listdir(first) if name.startswith("pages-"))
    flip(os.path.join(first, pages), 5000)
    expect_found(last, key, "the first image of the chain", f"{first}/{pages}")
    flip(os.path.join(first, pages), 5000)
    refused = harness.engine("export", last, "-o", folder(directory, "chain.tar"))
    harness.expect(refused.code == 1 and "merge" in refused.text, refused)
    harness.expect(not os.path.exists(folder(directory, "chain.tar")), "a half tar file")
    new, tar, back = (folder(directory, name) for name in ("new", "new.tar", "back"))
    harness.must(harness.engine("merge", last, "-o", new))
    harness.must(harness.engine("seal", new, "--key", key))
    harness.must(harness.engine("export", new, "-o", tar))
    harness.must(harness.engine("import", tar, "-D", back))
    harness.must(verify(back, key))
    shutil.rmtree(first)
    expect_found(last, key, "the first image gone", first)


def keys(directory):
    images, key = folder(directory, "images"), key_of(directory)
    again = harness.engine("keygen", key)
    harness.expect(again.code == 1 and "exists already" in again.text, f"a key was overwritten: {again}")
    harness.expect(os.stat(key).st_mode & 0o7777 == 0o600, f"the key has mode {os.stat(key).st_mode:o}")
    text = harness.read(key)
    wrong = folder(directory, "wrong")

    def expect_refused(what, *words):
        result = harness.engine("seal", images, "--key", wrong)
        harness.expect(result.code == 1 and all(word in result.text for word in words), f"{what}: {result}")
        harness.expect(text.split()[-1] not in result.text, "the key is printed")

    expect_refused("no file", "cannot be read", "keygen")
    for content in ("", "x", text[:-1], text + "\n", text.replace(" 1 ", " 2 "), text[:-2] + "g\n", "\0" * len(text)):
        with open(wrong, "w") as stream:
            stream.write(content)
        os.chmod(wrong, 0o600)
        expect_refused(repr(content), "holds no key")
    with open(wrong, "w") as stream:
        stream.write(text)
    for mode in (0o640, 0o604, 0o620, 0o666):
        os.chmod(wrong, mode)
        expect_refused(f"mode {mode:o}", "others", "chmod 600")
    os.chmod(wrong, 0o600)
    os.chown(wrong, 12345, 12345)
    expect_refused("of another user", "belongs to user 12345")
    os.unlink(wrong)
    os.symlink(key, wrong)
    expect_refused("a link", "symbolic link")
    os.unlink(wrong)
    os.mkfifo(wrong)
    os.chmod(wrong, 0o600)
    expect_refused("a FIFO", "no regular file")
    victim = Victim(directory)
    harness.must(harness.dump(victim.pid, images, "-R", "--no-sync"))
    open(os.path.join(images, "notes"), "w").close()
    result = harness.engine("seal", images, "--key", key)
    harness.expect(result.code == 1 and "notes" in result.text, result)
    os.unlink(os.path.join(images, "notes"))
    harness.must(harness.engine("seal", images, "--key", key))
    expect_found(images, key_of(directory, "another"), "another key", "is sealed with the key", "not with")
    harness.must(harness.dump(victim.pid, images, "-R", "--no-sync"))
    expect_found(images, key, "another image in the folder", "another image")


harness.cases({"tampered": tampered, "restored": restored, "chain": chain, "keys": keys})
