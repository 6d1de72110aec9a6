#include "tests/fuzz/seam/world.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>

#include "core/sys/failure.h"
#include "core/sys/file.h"

namespace mcr::fuzz {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "the engine broke a promise: %s\n", what);
  for (const std::string& step : Step::trail()) std::fprintf(stderr, "  in: %s\n", step.c_str());
  std::abort();
}

World& World::get() {
  static World world;
  return world;
}

void World::reset() {
  images.clear();
  nodes.clear();
  linked.clear();
  folders.clear();
  open_nodes_.clear();
  answers.clear();
  process.reset();
  fail_at = 0;
  fail_with = 0;
  calls = 0;
  image_folders.clear();
  require(local_mappings.empty(), "memory of the engine stays mapped");
}

const Node* World::node_of(int fd) const {
  const auto found = open_nodes_.find(fd);
  return found == open_nodes_.end() ? nullptr : &found->second;
}

FakeProcess& World::made(pid_t pid) {
  require(process && (pid == process->pid || process->tasks.contains(pid)), "a process that is not ours is touched");
  return *process;
}

// A real descriptor that behaves like the file as far as the engine uses it.
UniqueFd World::open_node(const std::string& path, int flags) {
  const auto found = nodes.find(path);
  if (found == nodes.end()) sys::throw_code(ENOENT, "open " + path);
  const Node& node = found->second;
  UniqueFd fd;
  if (S_ISDIR(node.mode)) {
    fd = UniqueFd(::open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  } else if (S_ISFIFO(node.mode)) {
    sys::Pipe pipe = sys::make_pipe(O_CLOEXEC | O_NONBLOCK);
    const std::string door = fmt::format("/proc/self/fd/{}", pipe.write_end.get());
    fd = UniqueFd(::open(door.c_str(), (flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC));
  } else if (S_ISREG(node.mode)) {
    fd = sys::make_memfd("node");
  } else {
    fd = UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC));
  }
  if (!fd.valid()) sys::throw_code(EACCES, "open " + path);
  if ((flags & O_DIRECTORY) && !S_ISDIR(node.mode)) sys::throw_code(ENOTDIR, "open " + path);
  remember(fd.get(), node);
  return fd;
}

namespace {

// By number, whatever the arguments. Not among them: what a fuzzer needs for itself (open, write, mmap, clone of a
// thread, signals to itself).
constexpr int kForbidden[] = {
    SYS_kill,
    SYS_ptrace,
    SYS_process_vm_writev,
    SYS_unlink,
    SYS_unlinkat,
    SYS_rename,
    SYS_renameat,
    SYS_renameat2,
    SYS_link,
    SYS_linkat,
    SYS_symlink,
    SYS_symlinkat,
    SYS_mkdir,
    SYS_mkdirat,
    SYS_rmdir,
    SYS_mknod,
    SYS_mknodat,
    SYS_chmod,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_chown,
    SYS_lchown,
    SYS_fchown,
    SYS_fchownat,
    SYS_truncate,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_chdir,
    SYS_fchdir,
    SYS_setns,
    SYS_unshare,
    SYS_fork,
    SYS_vfork,
    SYS_clone3,
    SYS_execve,
    SYS_execveat,
    SYS_setuid,
    SYS_setgid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_setgroups,
    SYS_capset,
    SYS_setpriority,
    SYS_ioprio_set,
    SYS_sched_setattr,
    SYS_sched_setaffinity,
    SYS_setsid,
    SYS_setpgid,
    SYS_reboot,
    SYS_kexec_load,
    SYS_swapon,
    SYS_swapoff,
    SYS_sethostname,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_adjtimex,
    SYS_bpf,
    SYS_init_module,
    SYS_delete_module,
    SYS_quotactl,
    SYS_bind,
    SYS_connect,
    SYS_listen,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_fsetxattr,
    SYS_removexattr,
    SYS_utimensat,
    SYS_pidfd_getfd,
    SYS_pidfd_send_signal,
    SYS_rt_sigqueueinfo,
    SYS_keyctl,
    SYS_add_key,
    SYS_shmget,
    SYS_semget,
    SYS_msgget,
    SYS_mq_open,
    SYS_mq_unlink,
    SYS_acct,
    SYS_umask,
    SYS_personality,
    SYS_inotify_add_watch,
    SYS_fanotify_mark,
};

}  // namespace

void forbid_effects() {
  std::vector<sock_filter> program{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
  };
  for (const int number : kForbidden) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  const bool done =
      ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
  require(done, "the kernel gives no filter: fuzzing would be dangerous");
}

}  // namespace mcr::fuzz
