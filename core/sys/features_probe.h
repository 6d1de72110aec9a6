// How features are tried. Private to core/sys.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mcr::sys::probe {

struct Finding {
  bool available = false;
  std::string why, detail;
};

inline Finding yes(std::string detail = {}) {
  return {true, {}, std::move(detail)};
}
inline Finding no(std::string why, std::string detail = {}) {
  return {false, std::move(why), std::move(detail)};
}
Finding by_code(int code, std::string_view call);      // 0: yes
Finding by_errno(long result, std::string_view call);  // a negative result: no, with errno

// Runs the body in a forked child and returns what it returned: 0 or an errno value. ETIMEDOUT when the child was
// killed at the time limit, ECHILD when it died otherwise. The body must not throw and must leave no process of its
// own.
int in_child(int (*body)());

// A forked child that only sleeps; killed and reaped with the object. It shares the memory image of the moment, so that
// addresses and descriptors of the caller mean the same there.
class Victim {
 public:
  Victim();
  ~Victim();
  Victim(const Victim&) = delete;
  Victim& operator=(const Victim&) = delete;
  pid_t pid() const { return pid_; }
  int failure() const { return failure_; }  // errno value of fork; 0: it lives
  int seize();                              // PTRACE_SEIZE and stop it; 0 or an errno value

 private:
  pid_t pid_ = -1;
  int failure_ = 0;
};

// One page of private memory of this process; null when there is none.
class Page {
 public:
  explicit Page(int prot);
  ~Page();
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;
  char* data() const { return data_; }
  uint64_t address() const { return reinterpret_cast<uint64_t>(data_); }
  static size_t size();

 private:
  char* data_ = nullptr;
};

// features_ptrace.cc: looking into a stopped task
Finding ptrace_seize();
Finding ptrace_peeksiginfo();
Finding ptrace_rseq_configuration();
Finding ptrace_xstate();
Finding process_vm_read();
Finding proc_mem_write();

// features_task.cc: creating and identifying tasks, and telling the kernel about them
Finding pidfd();
Finding pidfd_get_fd();
Finding compare_by_kcmp();
Finding clone3_set_tid();
Finding prctl_set_mm_map();
Finding prctl_get_tid_address();
Finding prctl_timer_restore_ids();
Finding proc_timers();
Finding timer_list();
Finding proc_sched();
Finding user_namespaces();

// features_memory.cc: memory, and finding what changed in it
Finding map_files();
Finding pagemap_scan();
Finding userfaultfd();
Finding userfaultfd_wp_async();
Finding userfaultfd_move();
Finding soft_dirty();
Finding memory_file();
Finding transparent_huge_pages();

// features_host.cc: rights and settings of the host
Finding tee_and_splice();
Finding io_uring();
Finding yama_ptrace_scope();
Finding cgroups();
Finding capability(int number);

// features_files.cc: open files, and what /proc says of them
Finding asynchronous_io();
Finding locks_in_fdinfo();
Finding mount_in_fdinfo();
Finding clock_in_fdinfo();
Finding login_uid();
Finding huge_memory_file();
Finding compare_epoll_targets();
Finding seccomp_filter_mode();
Finding suspended_seccomp();
Finding locked_socket_buffers();
Finding packet_filter();
Finding tcp_repair();
Finding foreign_addresses();
Finding raw_sockets();

}  // namespace mcr::sys::probe
