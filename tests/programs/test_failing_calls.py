# ctest: CASES dump restore
# ctest: TIMEOUT 240
"""A few dumps and restores of which one system call fails; tests/long/failing_calls has hundreds."""

import failing_calls
import harness

FEW = 10
# Out of descriptors, memory, processes, space; a broken disk.
CALLS = ("openat pidfd_getfd memfd_create pipe2 socketpair mmap recvmsg process_vm_readv clone3 pwrite64 ftruncate "
         "mkdirat read fsync fdatasync syncfs").split()


harness.cases({"dump": lambda directory: failing_calls.dump(directory, FEW, CALLS),
               "restore": lambda directory: failing_calls.restore(directory, FEW, CALLS)})
