# ctest: TIMEOUT 100
"""The script of docs/slurm.md under a real Slurm of one node: its walltime is near, it is signalled, saved, requeued,
resumed and finished, and its output is that of an undisturbed run."""

import os
import re
import shutil
import socket
import subprocess
import time

import harness
from harness import expect

# Like jobs.LOOP, and in no hurry until the file in its first argument is there: the walltime is to come first.
LOOP = """
import hashlib, os, sys, time
state = hashlib.sha256(b"seed")
for step in range(400):
    state.update(str(step).encode())
    print("step", step, state.hexdigest()[:12], flush=True)
    if not os.path.exists(sys.argv[1]):
        time.sleep(0.2)
print("result", state.hexdigest(), flush=True)
"""

CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/linear
SchedulerType=sched/builtin
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={processors} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES State=UP
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Cluster:
    """munged, slurmctld and slurmd: no systemd, no control groups."""

    def __init__(self, place):
        missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch", "scontrol") if not shutil.which(name)]
        if missing or os.geteuid() != 0:
            raise harness.Skip(f"needs root, and Slurm ({', '.join(missing) or 'which is here'}; tools/setup installs it)")
        self.place = place
        for name in ("state", "spool"):
            os.makedirs(os.path.join(place, name))
        with open(f"{place}/munge.key", "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as stream:
            stream.write(os.urandom(64))
        with open(f"{place}/slurm.conf", "w") as stream:
            stream.write(CONFIGURATION.format(host=socket.gethostname().split(".")[0], place=place, ports=free_ports(2),
                                              processors=os.cpu_count()))
        self.environment = {**os.environ, "SLURM_CONF": f"{place}/slurm.conf"}
        self.daemons = []
        self.start("munged", "--foreground", "--force", f"--socket={place}/munge.socket", f"--key-file={place}/munge.key",
                   f"--pid-file={place}/munge.pid", f"--log-file={place}/munge.log", f"--seed-file={place}/munge.seed",
                   "--num-threads=1")
        self.wait_for(lambda: os.path.exists(f"{place}/munge.socket"), "munged")
        self.start("slurmctld", "-D")
        self.start("slurmd", "-D")
        self.wait_for(lambda: self.call("sinfo", "-h", "-o", "%T") == "idle", "slurmctld and slurmd")

    def start(self, name, *arguments):
        with open(f"{self.place}/{name}.out", "w") as output:
            self.daemons.append(subprocess.Popen([name, *arguments], env=self.environment, stdin=subprocess.DEVNULL,
                                                 stdout=output, stderr=output, start_new_session=True))

    def wait_for(self, condition, what):
        end = time.monotonic() + 15
        while not condition():
            if time.monotonic() > end or any(daemon.poll() is not None for daemon in self.daemons):
                words = "".join(harness.read(f"{self.place}/{name}.out")[-600:] for name in
                                ("munged", "slurmctld", "slurmd"))
                raise harness.Skip(f"{what} cannot be started here: {words}")
            time.sleep(0.1)

    def call(self, *words):
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=20)
        return (done.stdout + done.stderr).strip()

    def stop(self):
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in reversed(self.daemons):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()


def script_of_docs(directory):
    text = harness.read(os.path.join(os.path.dirname(__file__), "..", "..", "docs", "slurm.md"))
    lines = [line[4:] for line in re.search(r"^    #!/bin/bash\n(    .*\n|\n)*", text, re.M).group(0).splitlines()]
    script = "\n".join(lines)
    # The shortest walltime that Slurm has is a minute; it looks at it every half a minute.
    for old, new in (("--time=04:00:00", "--time=1"), ("--signal=B:USR1@120", "--signal=B:USR1@55"),
                     ("mini-criu run", f"{harness.ENGINE} run"),
                     ("python3 train.py", f"python3 {directory}/loop.py {directory}/hurry")):
        expect(old in script, f"docs/slurm.md has no {old}")
        script = script.replace(old, new)
    with open(f"{directory}/batch", "w") as stream:
        stream.write(script)
    with open(f"{directory}/loop.py", "w") as stream:
        stream.write(LOOP)


def run(directory):
    cluster = Cluster(os.path.join(directory, "slurm"))
    try:
        script_of_docs(directory)
        cluster.environment["HOME"] = directory
        output = f"{directory}/output"
        told = cluster.call("sbatch", "-D", directory, "-o", output, f"{directory}/batch")
        found = re.search(r"Submitted batch job (\d+)", told)
        expect(found, told)
        job = found.group(1)

        def state():
            return cluster.call("scontrol", "-o", "show", "job", job)

        def wait_for(condition, seconds, what):
            end = time.monotonic() + seconds
            while not condition(text := state()):
                expect(time.monotonic() < end, f"not {what}: {text}\n{harness.read(output)[-500:]}")
                time.sleep(0.4)
            return text

        harness.wait_until(lambda: "step 3 " in harness.read(output), 20, "the first steps")
        restarted = wait_for(lambda text: "Restarts=1" in text, 50, "requeued")
        expect("result" not in harness.read(output), "it was not interrupted")
        expect(f"job {job} is stopped at its last checkpoint" in harness.read(output), harness.read(output)[-500:])
        open(f"{directory}/hurry", "w").close()
        # A requeued job waits until what the node had been told of it is out of date: cred_expire, two minutes usually.
        wait_for(lambda text: "JobState=COMPLETED" in text, 40, f"finished, which was {restarted}")
        alone = subprocess.run(["python3", f"{directory}/loop.py", f"{directory}/hurry"], capture_output=True, text=True,
                               timeout=20).stdout
        log = harness.read(f"{directory}/jobs/{job}/output.log")
        expect(log == alone, f"the log is not that of an undisturbed run: {log[:300]} ... {log[-300:]}")
        program = [line for line in harness.read(output).splitlines(True) if line.startswith(("step ", "result "))]
        expect("".join(program) == alone, f"what Slurm has is not the output of an undisturbed run: {program[:5]}")
        text = harness.read(f"{directory}/jobs/{job}/execution.log")
        expect("checkpoint and stop" in text or "; stopped" in text, text)
        expect("goes on from checkpoint" in text, text)
    finally:
        cluster.stop()
    harness.no_helpers()


harness.run(run)
