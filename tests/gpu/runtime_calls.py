#!/usr/bin/env python3
"""A program of CUDA's runtime library, without a kernel of its own: streams, events, a captured graph, pinned memory.

    runtime_calls.py END_FILE

Each step launches a graph that copies a pattern from pinned memory to the GPU, there from buffer to buffer, on two
streams that wait for each other by events, wipes a part, and copies the result back. What the step before has left on
the GPU is compared too. Prints "READY", "step N", and at the end "RIGHT N" or "WRONG ..."; "NOT RUN ..." without the
library or a GPU.
"""

import ctypes
import ctypes.util
import glob
import os
import sys
import sysconfig

BYTES, WIPED = 16 << 20, 4096
HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE = 1, 2, 3
CAPTURE_RELAXED = 2


def library():
    packages = sysconfig.get_paths()["purelib"]
    places = [os.environ.get("CUDART", ""), ctypes.util.find_library("cudart") or "",
              *sorted(glob.glob("/usr/local/cuda*/lib64/libcudart.so*")),
              *sorted(glob.glob(os.path.join(packages, "nvidia/*/lib/libcudart.so*")))]
    for place in filter(None, places):
        try:
            return ctypes.CDLL(place)
        except OSError:
            continue
    print("NOT RUN there is no libcudart", flush=True)
    sys.exit(0)


class Runtime:
    def __init__(self):
        self.library = library()
        self.library.cudaGetErrorString.restype = ctypes.c_char_p

    def __getattr__(self, name):
        function = getattr(self.library, name)

        def call(*arguments):
            code = function(*arguments)
            if code != 0:
                print(f"FAILED {name}: {self.library.cudaGetErrorString(code).decode()} ({code})", flush=True)
                sys.exit(1)

        return call

    def made(self, name, *arguments):
        handle = ctypes.c_void_p()
        getattr(self, name)(ctypes.byref(handle), *arguments)
        return handle


def size(count):
    return ctypes.c_size_t(count)


class Program:
    def __init__(self, cuda):
        self.cuda = cuda
        self.sent, self.got = (cuda.made("cudaMallocHost", size(BYTES)) for _ in "12")
        self.first, self.second, self.last = (cuda.made("cudaMalloc", size(BYTES)) for _ in "123")
        self.main, self.side = cuda.made("cudaStreamCreate"), cuda.made("cudaStreamCreate")
        self.fork, self.join = cuda.made("cudaEventCreate"), cuda.made("cudaEventCreate")
        self.graph = self.captured()

    def copy(self, to, origin, kind, stream):
        self.cuda.cudaMemcpyAsync(to, origin, size(BYTES), kind, stream)

    def captured(self):
        cuda = self.cuda
        cuda.cudaStreamBeginCapture(self.main, CAPTURE_RELAXED)
        self.copy(self.first, self.sent, HOST_TO_DEVICE, self.main)
        cuda.cudaEventRecord(self.fork, self.main)
        cuda.cudaStreamWaitEvent(self.side, self.fork, 0)
        self.copy(self.second, self.first, DEVICE_TO_DEVICE, self.side)
        cuda.cudaMemsetAsync(self.second, 0x5A, size(WIPED), self.side)
        cuda.cudaEventRecord(self.join, self.side)
        cuda.cudaStreamWaitEvent(self.main, self.join, 0)
        self.copy(self.got, self.second, DEVICE_TO_HOST, self.main)
        graph = ctypes.c_void_p()
        cuda.cudaStreamEndCapture(self.main, ctypes.byref(graph))
        return cuda.made("cudaGraphInstantiateWithFlags", graph, ctypes.c_ulonglong(0))

    def expect(self, wanted, what):
        got = ctypes.string_at(self.got, BYTES)
        if got != wanted:
            at = next(i for i in range(BYTES) if got[i] != wanted[i])
            print(f"WRONG {what}: byte {at} is {got[at]}, not {wanted[at]}", flush=True)
            sys.exit(1)

    def step(self, number):
        pattern = number.to_bytes(8, "little") * (BYTES // 8)
        ctypes.memmove(self.sent, pattern, BYTES)
        self.cuda.cudaGraphLaunch(self.graph, self.main)
        self.cuda.cudaStreamSynchronize(self.main)
        result = b"\x5a" * WIPED + pattern[WIPED:]
        self.expect(result, f"step {number}")
        if number > 0:  # what lay on the GPU all the time
            self.copy(self.got, self.last, DEVICE_TO_HOST, self.side)
            self.cuda.cudaStreamSynchronize(self.side)
            self.expect((number - 1).to_bytes(8, "little") * (BYTES // 8), f"what step {number - 1} has left")
        self.copy(self.last, self.first, DEVICE_TO_DEVICE, self.main)
        self.cuda.cudaStreamSynchronize(self.main)


def main():
    cuda = Runtime()
    count = ctypes.c_int()
    if cuda.library.cudaGetDeviceCount(ctypes.byref(count)) != 0 or count.value == 0:
        print("NOT RUN there is no GPU", flush=True)
        return
    program, number = Program(cuda), 0
    print("READY", flush=True)
    while not os.path.exists(sys.argv[1]):
        program.step(number)
        print("step", number, flush=True)
        number += 1
    print("RIGHT", number, flush=True)


if __name__ == "__main__":
    main()
