"""A tree with all kinds of kernel objects at once, dumped and restored again and again: nothing may grow, fail or be
lost. Its root starts workloads, each of which knows its own state and verifies it at the end."""

import os
import sys
import time

import harness
from harness import expect

PATIENCE = 120  # s; each of the many processes waits for its turn on a machine with much to do
WARM = 3  # rounds until everything that a restored program touches once has been touched
OPTIONS = ("--tcp-established", "--file-locks", "--link-remap", "--no-sync")

KINDS = """
aio_contexts blocked_futex blocked_in_threads blocked_pause blocked_poll_forever blocked_read blocked_select
blocked_sigwaitinfo brk_grows cwd_deleted_nested deleted_file deleted_file_hole devices directory_position
epoll_family epoll_watches event_counters executable_deleted fd_numbers fd_owner fd_sharing fifo_contents fifo_states
file_flags file_signal_owner files_many files_offsets ghost_names inotify_watches io_uring_rings io_uring_shared
limits_tight link_remap locks_leases locks_open_files locks_process locks_waiting memfd_descriptors memfd_executable
memfd_mappings memory_advice memory_deleted_file memory_growsdown memory_guard memory_locked memory_neighbours
memory_patterns memory_policy memory_private_file memory_protections memory_sealed memory_shared_anon
memory_shared_file memory_shared_holes memory_zero_device netlink_sockets opath_kinds pid_files pipe_contents
pipe_packets pipe_states pipe_widowed posix_queues process_attributes process_files pty_pair pty_queues registers_avx
registers_x87_sse rseq_registered seccomp_filters seccomp_tsync segment_bases self_title signal_actions
signal_altstack signal_files signal_pending signals_queue_order sysv_queue sysv_segments sysv_semaphores
tcp_connections tcp_listeners thread_controls threads_locks threads_state timer_files timers_disarmed tmpfile_linkable
tree_exit_signals tree_family tree_memfds tree_pipes tree_posix_shm tree_pty_session tree_sessions tree_shared_files
tree_shared_fs tree_shared_handlers tree_shared_memory tree_shared_vm tree_sysv_segments tree_tcp tree_unix_sockets
tree_users tree_zombies udp_sockets unix_messages unix_named unix_pairs unnamed_file working_directory
""".split()

# One of each, for very many rounds.
FEW = """
aio_contexts deleted_file devices epoll_family epoll_watches event_counters fd_sharing fifo_contents file_signal_owner
ghost_names inotify_watches io_uring_shared link_remap locks_leases locks_open_files locks_process memfd_descriptors
memory_patterns memory_shared_file netlink_sockets opath_kinds pid_files pipe_contents posix_queues pty_queues
seccomp_filters signal_files signal_pending sysv_queue sysv_segments sysv_semaphores tcp_connections thread_controls
threads_state timer_files tmpfile_linkable tree_family tree_memfds tree_posix_shm tree_pty_session tree_sessions
tree_shared_files tree_shared_fs tree_shared_vm tree_tcp tree_unix_sockets tree_zombies udp_queues unix_messages
unix_named unix_passed_epoll
""".split()

ROOT = r"""
import os, signal, subprocess, sys, time
children = {}
for name in sys.argv[2:]:
    os.mkdir(name)
    os.chmod(name, 0o777)
    with open(name + "/out", "w") as out:
        children[name] = subprocess.Popen([sys.argv[1] + "/" + name, os.getcwd() + "/" + name + "/state"],
                                          stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
while not os.path.exists("end"):
    time.sleep(0.05)
for name, child in children.items():
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
with open("codes", "w") as codes:
    for name, child in children.items():
        codes.write(f"{name} {child.wait()}\n")
"""


def tree_of(pid):
    found = [pid]
    for one in found:
        for task in os.listdir(f"/proc/{one}/task"):
            found += [int(word) for word in harness.read(f"/proc/{one}/task/{task}/children").split()]
    return sorted(found)


def count(folder):
    try:
        return len(os.listdir(folder))
    except OSError:
        return 0


def figures_of(pids):
    each = {}
    for pid in pids:
        # Workers of io_uring are the kernel's, and end when they have been idle for a while.
        threads = sum(not harness.read(f"/proc/{pid}/task/{tid}/comm").startswith("iou-")
                      for tid in os.listdir(f"/proc/{pid}/task"))
        each[pid] = {"descriptors": count(f"/proc/{pid}/fd"), "mappings": harness.read(f"/proc/{pid}/maps").count("\n"),
                     "threads": threads, "RssAnon": int((harness.field(pid, "RssAnon") or "0").split()[0])}
    # Of the whole machine, where others come and go too.
    ipc = sum(harness.read(f"/proc/sysvipc/{kind}").count("\n") for kind in ("shm", "sem", "msg"))
    host = {"System V objects": ipc,
            "POSIX queues and memory": count("/dev/mqueue") + count("/dev/shm"), "terminals": count("/dev/pts")}
    return each, host


def sum_of(each, name):
    return sum(figures[name] for figures in each.values())


def begin(directory, kinds):
    pid = harness.start([sys.executable, "-c", ROOT, harness.WORKLOADS, *kinds], f"{directory}/root", cwd=directory)
    def missing():
        return [name for name in kinds if not os.path.exists(f"{directory}/{name}/state.ready")
                and not harness.read(f"{directory}/{name}/state.result")]
    harness.wait_until(lambda: not missing(), 60, "READY of all")
    skipped = [name for name in kinds if harness.read(f"{directory}/{name}/state.result").startswith("SKIP")]
    print(f"{len(kinds) - len(skipped)} workloads, skipped by themselves: {' '.join(skipped)}")
    return pid


def verify_all(pid, directory, kinds, pauses):
    for name in kinds:
        with open(f"{directory}/{name}/state.pauses", "w") as stream:
            stream.write(pauses)
    open(f"{directory}/end", "w").close()
    code = harness.wait_for(pid, 60)
    expect(code == 0, f"the root ended with {code}: {harness.read(directory + '/root.err')}")
    results = {name: harness.read(f"{directory}/{name}/state.result").strip() for name in kinds}
    bad = [f"{name}: {text}" for name, text in results.items() if text != "PASS" and not text.startswith("SKIP")]
    expect(not bad, "not as they were:\n" + "\n".join(bad))


def rounds(directory, kinds, many):
    os.chmod(directory, 0o777)
    pid = begin(directory, kinds)
    time.sleep(0.5)
    tree, first, pauses, spent = tree_of(pid), None, "", [0.0, 0.0]
    began = told = time.monotonic()
    for number in range(1, many + 1):
        images, clock = f"{directory}/images", [time.monotonic_ns()]
        harness.must(harness.engine("dump", "-t", pid, "-D", images, "-o", "dump.log", *OPTIONS, limit=PATIENCE))
        expect(harness.wait_for(pid) == -9, "the dump did not end the program")
        harness.reap_dumped(images)
        clock.append(time.monotonic_ns())
        time.sleep(0.02)
        clock.append(time.monotonic_ns())
        harness.must(harness.restore(images, *OPTIONS[:2], limit=PATIENCE))
        clock.append(time.monotonic_ns())
        pauses += "gone {} {} {} {}\n".format(*clock)
        spent[0] += (clock[1] - clock[0]) / 1e9
        spent[1] += (clock[3] - clock[2]) / 1e9
        expect(tree_of(pid) == tree, f"round {number}: processes {tree_of(pid)} instead of {tree}")
        harness.no_helpers(pid)
        each, host = figures_of(tree)
        if number == WARM:
            first = each, host
        if number > WARM:
            for name in ("descriptors", "mappings", "threads"):
                for one in tree:
                    now, before = each[one][name], first[0][one][name]
                    expect(now == before,
                           f"round {number}: {harness.read(f'/proc/{one}/cmdline')}: {now} {name}, not {before}")
            now, before = sum_of(each, "RssAnon"), sum_of(first[0], "RssAnon")
            expect(now <= before * 1.05 + 1024, f"round {number}: {now} KiB, were {before}")
            for name, value in host.items():
                expect(value <= first[1][name] + 8, f"round {number}: {value} {name}, were {first[1][name]}")
        if time.monotonic() - told > 30:
            told = time.monotonic()
            print(f"{number} rounds in {told - began:.0f} s", flush=True)
        time.sleep(0.05)
    print(f"{many} rounds of {len(tree)} processes in {time.monotonic() - began:.0f} s: dump {spent[0] / many:.3f} s, "
          f"restore {spent[1] / many:.3f} s each")
    for name in ("descriptors", "mappings", "threads", "RssAnon"):
        print(f"  {name}: {sum_of(first[0], name)} after round {WARM}, {sum_of(each, name)} at the end")
    for name, value in host.items():
        print(f"  {name}: {first[1][name]} after round {WARM}, {value} at the end")
    verify_all(pid, directory, kinds, pauses)
