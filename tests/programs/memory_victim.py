"""A program with memory that cannot be saved, and nothing else unusual: memory_victim.py CASE NUMBERS. It sets the memory
up, writes "ready" (or "skip REASON") to its output, and counts into the file NUMBERS."""

import ctypes
import os
import socket
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.mmap.restype = ctypes.c_void_p
PAGE = 4096
SHARED, PRIVATE, ANONYMOUS = 1, 2, 0x20
kept = []


class Absent(Exception):
    pass


def must(result, what):
    if result is None or result < 0 or result == 2**64 - 1:
        raise Absent(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def call(what, number, *arguments):
    return must(libc.syscall(ctypes.c_long(number), *[
        ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]), what)


def mapped(fd, size=PAGE, flags=SHARED, offset=0):
    return must(libc.mmap(None, ctypes.c_size_t(size), 3, flags, fd, ctypes.c_long(offset)), "mmap")


def map_and_close(fd, size=PAGE, offset=0):
    mapped(fd, size, offset=offset)
    os.close(fd)


def io_uring(flags=0):
    parameters = ctypes.create_string_buffer(160)
    struct.pack_into("I", parameters, 8, flags)
    return call("io_uring_setup", 425, 4, parameters)


def io_uring_ring():
    map_and_close(io_uring())


def io_uring_thread():
    io_uring(1 << 1)  # IORING_SETUP_SQPOLL


def io_uring_bound():
    io_uring(1 << 12)  # IORING_SETUP_SINGLE_ISSUER


def io_uring_files():
    call("io_uring_register", 427, io_uring(), 2, struct.pack("i", 1), 1)


def io_uring_eventfd():
    event = call("eventfd2", 290, 0, 0)
    call("io_uring_register", 427, io_uring(), 4, struct.pack("i", event), 1)


def perf_ring():
    attributes = ctypes.create_string_buffer(128)
    struct.pack_into("IIQ", attributes, 0, 1, 128, 0)  # PERF_TYPE_SOFTWARE, cpu clock
    map_and_close(call("perf_event_open", 298, attributes, 0, -1, -1, 0), 2 * PAGE)


def bpf_map():
    attributes = ctypes.create_string_buffer(128)
    struct.pack_into("IIIII", attributes, 0, 2, 4, 4, 1, 1 << 10)  # BPF_MAP_TYPE_ARRAY, BPF_F_MMAPABLE
    map_and_close(call("bpf", 321, 0, attributes, 72))


def secret():
    fd = call("memfd_secret", 447, 0)
    os.ftruncate(fd, PAGE)
    return fd


def secret_memory():
    map_and_close(secret())


def userfaultfd():
    fd = call("userfaultfd", 323, os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl_ioctl(fd, 0xC018AA3F, struct.pack("QQQ", 0xAA, 0, 0))  # UFFDIO_API
    at = mapped(-1, PAGE, PRIVATE | ANONYMOUS)
    fcntl_ioctl(fd, 0xC020AA00, struct.pack("QQQQ", at, PAGE, 1, 0))  # UFFDIO_REGISTER, missing pages


def fcntl_ioctl(fd, request, argument):
    buffer = ctypes.create_string_buffer(argument)
    must(libc.ioctl(fd, ctypes.c_ulong(request), buffer), "ioctl")


def packet_ring():
    try:
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        packets.setsockopt(263, 5, struct.pack("4I", PAGE, 1, 2048, 2))  # SOL_PACKET, PACKET_RX_RING
    except OSError as error:
        raise Absent(f"packet socket: {error}")
    map_and_close(packets.detach())


def xdp_ring():
    try:
        sockets = socket.socket(44, socket.SOCK_RAW, 0)  # AF_XDP
        sockets.setsockopt(283, 2, struct.pack("I", 64))  # SOL_XDP, XDP_RX_RING
    except OSError as error:
        raise Absent(f"XDP socket: {error}")
    map_and_close(sockets.detach())


def virtual_processor():
    try:
        kvm = os.open("/dev/kvm", os.O_RDWR)
    except OSError as error:
        raise Absent(f"/dev/kvm: {error}")
    machine = call("KVM_CREATE_VM", 16, kvm, 0xAE01, 0)
    os.close(kvm)
    map_and_close(call("KVM_CREATE_VCPU", 16, machine, 0xAE41, 0))
    os.close(machine)


def device():
    try:
        kept.append(os.open("/dev/kvm", os.O_RDWR))
    except OSError as error:
        raise Absent(f"/dev/kvm: {error}")


def aio_poll():
    context = ctypes.c_ulong(0)
    call("io_setup", 206, 4, ctypes.byref(context))
    reader, writer = os.pipe()
    request = ctypes.create_string_buffer(64)
    struct.pack_into("QIIHhIQQ", request, 0, 1, 0, 0, 5, 0, reader, 1, 0)  # IOCB_CMD_POLL for POLLIN
    addresses = (ctypes.c_void_p * 1)(ctypes.addressof(request))
    call("io_submit", 209, context.value, 1, addresses)
    kept.append((reader, writer, request))


def memfd_of_two():
    fd = os.memfd_create("of two")
    os.ftruncate(fd, PAGE)
    kept.append(fd)
    os.set_inheritable(fd, True)


def shared_with_an_orphan():
    """Anonymous shared memory; a grandchild that has it is adopted by somebody outside."""
    at = mapped(-1, PAGE, SHARED | ANONYMOUS)
    ctypes.memset(at, 1, 1)
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            os.close(0), os.close(1), os.close(2)
            time.sleep(120)
        os._exit(0)
    os.waitpid(child, 0)


def run(case, path):
    try:
        {name: value for name, value in globals().items() if callable(value)}[case]()
    except Absent as reason:
        print("skip", reason, flush=True)
        return
    with open(path, "a", buffering=1) as numbers:
        print("ready", os.getpid(), flush=True)
        number = 0
        while True:
            numbers.write(f"{number:09d}\n")
            number += 1
            time.sleep(0.001)


run(sys.argv[1], sys.argv[2])
