"""Jobs in a folder of the test's own, and a program whose output tells whether anything was lost or repeated."""

import json
import os
import re
import signal
import subprocess

import harness

# Like the training loop of a model: state in memory that depends on every step, one line of output a step.
LOOP = """
import hashlib, sys, time
steps, pause = int(sys.argv[1]), float(sys.argv[2])
out = open(sys.argv[3], "a") if len(sys.argv) > 3 else None
state = hashlib.sha256(b"seed")
for step in range(steps):
    state.update(str(step).encode())
    print("step", step, state.hexdigest()[:12], flush=True)
    if out:
        out.write(f"{step} {state.hexdigest()[:12]}" + chr(10))
        out.flush()
    time.sleep(pause)
print("result", state.hexdigest(), flush=True)
"""


class Jobs:
    def __init__(self, directory):
        self.folder = os.path.join(directory, "jobs")
        self.loop = os.path.join(directory, "loop.py")
        self.directory = directory
        with open(self.loop, "w") as stream:
            stream.write(LOOP)

    def call(self, *words, limit=30):
        command, *rest = words
        return harness.engine(command, "--jobs-dir", self.folder, *rest, limit=limit)

    def must(self, *words, limit=30):
        return harness.must(self.call(*words, limit=limit))

    def refused(self, *words, saying, code=1):
        result = self.call(*words)
        harness.expect(result.code == code and re.search(saying, result.errors),
                       f"not refused with {code} and \"{saying}\": {result}")
        return result

    def start(self, job, steps, pause, *options, out=None):
        return self.must("run", "--id", job, *options, "--", "python3", self.loop, steps, pause, *([out] if out else []))

    def job(self, job):
        return json.loads(self.must("inspect", job, "--json").output)["job"]

    def state(self, job):
        return json.loads(harness.read(self.path(job, "state.json")) or "{}")

    def path(self, job, *names):
        return os.path.join(self.folder, job, *names)

    def log(self, job):
        return harness.read(self.path(job, "output.log"))

    def steps(self, job):
        return self.log(job).count("step ")

    def wait_for_step(self, job, step, seconds=20):
        harness.wait_until(lambda: self.steps(job) > step, seconds, f"step {step} of {job}")

    def wait_for_status(self, job, status, seconds=60):
        def reached():
            found = self.job(job)
            return found if found["status"] == status else None

        try:
            return harness.wait_until(reached, seconds, f"{job} {status}")
        except harness.Failure as failure:
            raise harness.Failure(f"{failure}: {self.job(job)}\n{harness.read(self.path(job, 'execution.log'))}")

    def wait_for_checkpoints(self, job, count, seconds=30):
        """As many as were made, removed ones too."""
        harness.wait_until(lambda: self.state(job).get("nextNumber", 1) > count, seconds, f"{count} checkpoints of {job}")

    def kill_program(self, job):
        pid = harness.wait_until(lambda: int(self.job(job)["pid"]), 20, f"a program of {job}")
        harness.expect(pid > 1, f"pid {pid}")  # 0 would be this test's own group
        os.kill(pid, signal.SIGKILL)

    def end(self, job):
        self.call("stop", job, "--no-checkpoint")

    def expect_undisturbed(self, job, steps):
        alone = subprocess.run(["python3", self.loop, str(steps), "0"], capture_output=True, text=True, timeout=30)
        log = self.log(job)
        if log != alone.stdout:
            want, got = alone.stdout.splitlines(), log.splitlines()
            first = next((i for i, pair in enumerate(zip(want, got)) if pair[0] != pair[1]), min(len(want), len(got)))
            raise harness.Failure(f"the log differs from line {first} of {len(got)} (expected {len(want)}):\n"
                                  + "\n".join(got[max(first - 3, 0):first + 3]) + "\n"
                                  + harness.read(self.path(job, "execution.log")))
