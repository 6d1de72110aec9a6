"""A host with GPUs that are none: folder, devices and faults of tests/fake_cuda, and programs on it."""

import os
import stat

import harness

BUILD = os.path.dirname(harness.WORKLOADS)
ONE_GIB = 1 << 30


class Host:
    """$FAKE_CUDA_DIR; programs and the engine share it through the environment."""

    def __init__(self, directory, devices=1, name="Model T", memory=ONE_GIB):
        self.directory = directory
        self.folder = os.path.join(directory, "gpus")
        os.mkdir(self.folder)
        self.set_devices([(number, memory, 9, 0, name) for number in range(devices)])
        self.environment = dict(os.environ, FAKE_CUDA_DIR=self.folder,
                                LD_LIBRARY_PATH=os.path.join(BUILD, "fake_cuda"))
        self.started = 0

    def set_devices(self, devices):
        with open(os.path.join(self.folder, "devices"), "w") as file:
            for number, memory, major, minor, name in devices:
                file.write(f"{uuid(number)[4:].replace('-', '')} {memory} {major} {minor} {name}\n")
        for index in range(len(devices)):
            path = os.path.join(self.folder, f"nvidia{index}")
            if not os.path.exists(path):
                os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 11))  # what opens, and no image can hold

    def fail(self, *lines):
        """"CALL RESULT DELAY_MS COUNT" each."""
        with open(os.path.join(self.folder, "faults"), "w") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def calls(self):
        return [line.split()[0] for line in harness.read(os.path.join(self.folder, "calls")).splitlines()]

    def memory_files(self):
        return [name for name in os.listdir(self.folder) if name.startswith("memory-")]

    def start(self, program, *arguments):
        self.started += 1
        output = os.path.join(self.directory, f"out-{self.started}")
        pid = harness.start([os.path.join(BUILD, "gpu", program), *map(str, arguments)], output,
                            environment=self.environment)
        return pid, output

    def steps(self, devices=1, processes=1, mib=4):
        """The program that counts; returned when it has made some steps."""
        pid, output = self.start("steps", devices, processes, mib, self.end_file)
        self.wait_for_steps(output, 3)
        return pid, output

    @property
    def end_file(self):
        return os.path.join(self.directory, "end")

    def wait_for_steps(self, output, more):
        """So many from now on."""
        begun = last_step(output)
        harness.wait_until(lambda: last_step(output) >= begun + more or "WRONG" in harness.read(output), 30,
                           f"{more} steps after {begun}: {harness.read(output)[-300:]}")

    def finish(self, pid, output, child=True):
        self.wait_for_steps(output, 3)
        open(self.end_file, "w").close()
        harness.wait_until(lambda: "RIGHT" in harness.read(output) or "WRONG" in harness.read(output), 30, "the end")
        if child:
            harness.expect(harness.wait_for(pid, 30) == 0, harness.read(output)[-300:])
        text = harness.read(output)
        harness.expect("WRONG" not in text and "FAILED" not in text, text[-300:])
        numbers = [int(line.split()[1]) for line in text.splitlines() if line.startswith("step")]
        harness.expect(numbers == list(range(1, len(numbers) + 1)), "a step is missing or came twice")

    def engine(self, *arguments, **options):
        return harness.engine(*arguments, environment=self.environment, **options)

    def dump(self, pid, images, *more, **options):
        return harness.dump(pid, images, "--no-sync", *more, environment=self.environment, **options)

    def restore(self, images, *more, **options):
        return harness.restore(images, *more, environment=self.environment, **options)


def last_step(output):
    lines = [line for line in harness.read(output).splitlines() if line.startswith("step")]
    return int(lines[-1].split()[1]) if lines else 0


def uuid(number):
    digits = f"{number + 1:02x}" * 16
    return "GPU-" + "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
