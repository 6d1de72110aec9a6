# ctest: TIMEOUT 120
"""tests/gpu/on-device, which is meant for a machine with a GPU, runs from its beginning to its end where there is none: on
the stand-in for the driver, with little memory."""

import json
import os
import subprocess
import sys

import fake_gpu
import harness
from harness import expect

ON_DEVICE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "gpu", "on-device")


def test(directory):
    host, out = fake_gpu.Host(directory), os.path.join(directory, "out")
    done = subprocess.run([sys.executable, ON_DEVICE, harness.ENGINE, os.path.join(fake_gpu.BUILD, "gpu"), out, "--sizes",
                           "64,128", "--rounds", "2"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=100, env=dict(host.environment, PYTHONDONTWRITEBYTECODE="1"))
    expect(done.returncode == 0, done.stdout + done.stderr)
    result = json.loads(harness.read(os.path.join(out, "on-device.json")))
    expect(len(result["steps"]) == 2 and [one["mib"] for one in result["hold"]] == [64, 128], str(result))
    for one in result["hold"]:
        for name in ("gpu_ms", "copy_limit_ms", "write_limit_ms", "read_limit_ms", "total_times_the_limits"):
            expect(one.get(name, 0) > 0, f"{name} of {one}")
        expect(one["live"]["gpu_back"] > 0, str(one["live"]))
    # No kernel of theirs runs on the stand-in; that is said, and no failure.
    expect(all("not_run" in result[name] for name in ("runtime", "torch_training", "torch_graph")), str(result))


if __name__ == "__main__":
    harness.run(test)
