# ctest: TIMEOUT 120
# ctest: CASES restored go_on live stream chain tree undone restore_fails harmed other_gpus refused managed no_driver busy commands killed_20_times
"""Programs that use CUDA, on the stand-in for its driver: saved with what is in device memory, and never left without it."""

import json
import os
import signal
import subprocess
import time

import harness
from fake_gpu import Host, uuid
from harness import expect, must


def dump_and_reap(host, pid, images, *more):
    result = must(host.dump(pid, images, *more))
    expect(harness.wait_for(pid) == -signal.SIGKILL, str(result))
    harness.reap_dumped(images)
    return result


def restored(directory):
    host = Host(directory)
    pid, output = host.steps()
    images = os.path.join(directory, "images")
    figures = json.loads(dump_and_reap(host, pid, images, "--json").output)["times_ms"]
    expect(figures["gpu_save"] > 0 and "gpu_lock" in figures, str(figures))
    expect(host.memory_files() == [], "device memory is left where it was")
    must(host.engine("verify", images))
    figures = json.loads(must(host.restore(images, "--json")).output)["times_ms"]
    expect(figures["gpu"] > 0, str(figures))
    host.finish(pid, output)


def go_on(directory):
    host = Host(directory)
    pid, output = host.steps()
    for number in range(3):
        must(host.dump(pid, os.path.join(directory, f"images-{number % 2}"), "--leave-running"))
        host.wait_for_steps(output, 2)
    harness.kill_and_reap(pid)
    # Steps behind the last image are made, and printed, once more.
    length = len(harness.read(output))
    must(host.restore(os.path.join(directory, "images-0"), "--file-validation", "none"))
    harness.wait_until(lambda: len(harness.read(output)) > length, 20, "steps of the restored one")
    harness.kill_and_reap(pid)
    expect("WRONG" not in harness.read(output), harness.read(output)[-300:])


def with_options(directory, *options):
    host = Host(directory)
    pid, output = host.steps(mib=8)
    images = os.path.join(directory, "images")
    dump_and_reap(host, pid, images, *options)
    must(host.restore(images))
    host.finish(pid, output)


def live(directory):
    host = Host(directory)
    pid, output = host.steps(mib=8)
    images = os.path.join(directory, "images")
    must(host.dump(pid, images, "--live"))
    host.wait_for_steps(output, 3)
    harness.kill_and_reap(pid)
    length = len(harness.read(output))
    must(host.restore(images, "--file-validation", "none"))
    harness.wait_until(lambda: len(harness.read(output)) > length + 20, 20, "steps of the restored one")
    expect("WRONG" not in harness.read(output), harness.read(output)[-300:])
    harness.kill_and_reap(pid)


def stream(directory):
    with_options(directory, "--stream", "2", "--compress", "lz4")


def chain(directory):
    host = Host(directory)
    pid, output = host.steps(mib=8)
    first, second = os.path.join(directory, "first"), os.path.join(directory, "second")
    must(host.engine("pre-dump", "-t", pid, "-D", first, "--track-mem"))
    host.wait_for_steps(output, 3)
    dump_and_reap(host, pid, second, "--prev-images-dir", first)
    must(host.restore(second))
    host.finish(pid, output)


def tree(directory):
    host = Host(directory, devices=2)
    pid, output = host.steps(devices=2, processes=3, mib=1)
    images = os.path.join(directory, "images")
    dump_and_reap(host, pid, images)
    expect(host.calls().count("lock") == 3 and host.calls().count("checkpoint") == 3, str(host.calls()))
    must(host.restore(images))
    host.finish(pid, output)


def undone(directory):
    """Whatever call fails, in whichever process: all of them run on with what they had."""
    host = Host(directory)
    pid, output = host.steps(processes=3, mib=1)
    for fault in ("lock 999 0 1", "checkpoint 999 0 1", "checkpoint 801 0 1", "checkpoint 999 300 1"):
        host.fail(fault)
        result = host.dump(pid, os.path.join(directory, "images"))
        expect(result.code == 1 and "CUDA_ERROR" in result.text, f"{fault}: {result}")
        expect(not os.path.exists(os.path.join(directory, "images", "inventory.img")), "there is an image")
        host.wait_for_steps(output, 2)
    host.fail()
    blocked = os.path.join(directory, "blocked")
    open(blocked, "w").close()
    for options in (["-D", os.path.join(blocked, "images")], ["-D", os.path.join(directory, "i"), "--action-script", "/bin/false"]):
        result = host.engine("dump", "-t", pid, *options)
        expect(result.code == 1, str(result))
        host.wait_for_steps(output, 2)
    state = json.loads(must(host.engine("gpu", "state", "-t", pid, "--json")).output)
    expect([one["state"] for one in state["processes"]] == ["running"] * 3, str(state))
    host.finish(pid, output)


def restore_fails(directory):
    host = Host(directory)
    pid, output = host.steps(processes=2, mib=1)
    images = os.path.join(directory, "images")
    dump_and_reap(host, pid, images)
    for fault in ("restore 999 0 1", "restore 2 100 1", "unlock 999 0 1", "init 100 0 1"):
        host.fail(fault)
        result = host.restore(images)
        expect(result.code == 1 and "CUDA_ERROR" in result.text, f"{fault}: {result}")
        harness.no_helpers()
    must(host.restore(images))
    host.finish(pid, output)


def harmed(directory):
    """The undo fails too: exit code 3 says so, and `gpu resume` mends it."""
    host = Host(directory)
    pid, output = host.steps()
    host.fail("checkpoint 999 0 1", "unlock 999 0 1")
    result = host.dump(pid, os.path.join(directory, "images"))
    expect(result.code == 3 and "without its GPU" in harness.read(os.path.join(directory, "images", "dump.log")),
           str(result) + harness.log_tails(result))
    must(host.engine("gpu", "resume", "-t", pid))
    host.finish(pid, output)


def other_gpus(directory):
    host = Host(directory)
    pid, output = host.steps()
    images = os.path.join(directory, "images")
    dump_and_reap(host, pid, images)

    def refused(devices, *words, options=()):
        host.set_devices(devices)
        before = host.calls()
        result = host.restore(images, *options)
        expect(result.code == 1 and all(word in result.text for word in words), str(result))
        expect(host.calls() == before, "something was begun")
        harness.no_helpers()

    gib = 1 << 30
    refused([(7, gib, 8, 0, "Model S")], uuid(0), "Model T", uuid(7), "Model S")
    refused([(7, gib >> 1, 9, 0, "Model T")], uuid(0), uuid(7))
    refused([(7, gib, 9, 0, "Model T"), (8, gib, 9, 0, "Model T")], "more than one GPU", f"--gpu-map {uuid(0)}={uuid(7)}")
    refused([(7, gib, 8, 0, "Model S")], "another chip", options=["--gpu-map", f"{uuid(0)}={uuid(7)}"])
    refused([(7, gib, 9, 0, "Model T")], uuid(9), options=["--gpu-map", f"{uuid(0)}={uuid(9)}"])
    refused([(7, gib, 9, 0, "Model T")], uuid(5), options=["--gpu-map", f"{uuid(5)}={uuid(7)}"])
    expect(host.restore(images, "--gpu-map", "here=there").code == 2, "a wrong --gpu-map")
    host.set_devices([(6, gib, 9, 0, "Model T"), (7, gib, 9, 0, "Model T")])
    must(host.restore(images, "--gpu-map", f"{uuid(0)}={uuid(7)}"))
    host.wait_for_steps(output, 2)
    dump_and_reap(host, pid, images)
    host.set_devices([(6, gib, 9, 0, "Model T"), (7, gib, 9, 0, "Model T")])
    must(host.restore(images))
    host.finish(pid, output)


def refused(directory):
    """Open GPU devices of no CUDA program, and a stopped one: said before anything is touched."""
    host = Host(directory)
    program = f"import time; f = open('{host.folder}/nvidia0'); print('READY', flush=True); time.sleep(1000)"
    output = os.path.join(directory, "out")
    pid = harness.start(["python3", "-c", program], output)
    harness.wait_until(lambda: "READY" in harness.read(output), 20, "READY")
    result = host.dump(pid, os.path.join(directory, "images"))
    expect(result.code == 1 and "does not use CUDA" in result.text and "nvmlShutdown" in result.text, str(result))
    expect(harness.trouble_of(pid) == "", "it was touched")
    harness.kill_and_reap(pid)

    pid, output = host.steps()
    result = host.dump(pid, os.path.join(directory, "images"), "--leave-stopped")
    expect(result.code == 1 and "cannot take its GPU back" in result.text, str(result))
    os.kill(pid, signal.SIGSTOP)
    harness.wait_until(lambda: harness.field(pid, "State")[:1] == "T", 5, "the stop")
    result = host.dump(pid, os.path.join(directory, "images"))
    expect(result.code == 1 and "SIGCONT" in result.text, str(result))
    os.kill(pid, signal.SIGCONT)
    expect("lock" not in host.calls(), str(host.calls()))
    host.finish(pid, output)


def managed(directory):
    host = Host(directory)
    pid, output = host.start("managed", host.end_file)
    host.wait_for_steps(output, 2)
    result = host.dump(pid, os.path.join(directory, "images"))
    expect(result.code == 1 and "managed memory" in result.text, str(result))
    host.wait_for_steps(output, 2)
    harness.kill_and_reap(pid)


def no_driver(directory):
    host = Host(directory)
    pid, output = host.steps()
    images = os.path.join(directory, "images")
    without = dict(os.environ)
    result = harness.dump(pid, images, environment=without)
    expect(result.code == 1 and "libcuda.so.1 cannot be loaded" in result.text, str(result))
    expect(harness.engine("gpu", "list", environment=without).code == 1, "a list without a driver")
    host.wait_for_steps(output, 2)
    dump_and_reap(host, pid, images)
    result = harness.restore(images, environment=without)
    expect(result.code == 1 and "libcuda.so.1 cannot be loaded" in result.text, str(result))
    must(host.restore(images))
    host.finish(pid, output)


def busy(directory):
    """A kernel that does not end in time: the lock gives up, and the program has noticed nothing."""
    host = Host(directory)
    pid, output = host.steps()
    host.fail("synchronize 0 4000 1")
    harness.wait_until(lambda: harness.read(os.path.join(host.folder, "faults")) == "", 10, "the long kernel")
    result = host.dump(pid, os.path.join(directory, "images"), "--timeout", "1")
    expect(result.code == 1 and "did not come to a halt" in result.text, str(result))
    must(host.dump(pid, os.path.join(directory, "images"), "--leave-running"))
    host.finish(pid, output)


def commands(directory):
    host = Host(directory, devices=2)
    listed = json.loads(must(host.engine("gpu", "list", "--json")).output)
    expect([gpu["uuid"] for gpu in listed["gpus"]] == [uuid(0), uuid(1)], str(listed))
    expect(uuid(0) in must(host.engine("gpu", "list")).output, "the list")
    pid, output = host.steps(devices=2, processes=2, mib=1)
    must(host.engine("gpu", "suspend", "-t", pid))
    expect(host.memory_files() == [], "device memory is still taken")
    time.sleep(0.05)
    halted = harness.read(output)
    must(host.engine("gpu", "suspend", "-t", pid))  # it is already
    result = host.dump(pid, os.path.join(directory, "images"))
    expect(result.code == 1 and "gpu resume" in result.text, str(result))
    expect(host.engine("gpu", "unlock", "-t", pid).code == 1, "unlock of a suspended one")
    time.sleep(0.1)
    expect(harness.read(output) == halted, "it makes steps while it is suspended")
    must(host.engine("gpu", "resume", "-t", pid))
    host.wait_for_steps(output, 2)
    must(host.engine("gpu", "lock", "-t", pid))
    expect("locked" in must(host.engine("gpu", "state", "-t", pid)).output, "the state")
    result = host.engine("gpu", "suspend", "-t", pid)
    expect(result.code == 1 and "gpu unlock" in result.text, str(result))
    must(host.engine("gpu", "unlock", "-t", pid))
    host.fail("checkpoint 999 0 1")
    expect(host.engine("gpu", "suspend", "-t", pid).code == 1, "a failed suspend")
    host.wait_for_steps(output, 2)
    expect(host.engine("gpu", "fly", "-t", pid).code == 2 and host.engine("gpu", "state").code == 2, "usage")
    host.finish(pid, output)


def killed_20_times(directory):
    """kill -9 of mini-criu at any moment, 20 times: the program has its GPU again by itself."""
    host = Host(directory)
    pid, output = host.steps(processes=2, mib=8)
    images = os.path.join(directory, "images")
    chance = harness.seeded()
    began = time.monotonic()
    must(host.dump(pid, images, "--leave-running"))
    whole = time.monotonic() - began
    for _ in range(20):
        run = subprocess.Popen([harness.ENGINE, "dump", "-t", str(pid), "-D", images, "--leave-running", "--no-sync"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env=host.environment)
        time.sleep(chance.uniform(0, whole))
        run.kill()
        run.wait()
        host.wait_for_steps(output, 2)
    host.finish(pid, output)
    harness.no_helpers()


if __name__ == "__main__":
    harness.run(globals()[harness.CASE])
