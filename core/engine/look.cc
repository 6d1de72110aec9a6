#include "core/engine/look.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <linux/seccomp.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/two_threads.h"
#include "core/engine/aio_requests.h"
#include "core/engine/confinement.h"
#include "core/engine/memory_sharers.h"
#include "core/engine/memory_tracking.h"
#include "core/engine/process_limits.h"
#include "core/engine/rings.h"
#include "core/engine/thread_files.h"
#include "core/engine/timer_clocks.h"
#include "core/inject/cave_room.h"
#include "core/mem/address_space.h"
#include "core/mem/aio_ring.h"
#include "core/mem/sysv_segment.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"
#include "core/sys/namespaces.h"
#include "core/sys/process.h"
#include "core/trace/frozen_tree.h"
#include "core/tree/creation_plan.h"

namespace mcr::engine {
namespace {

using namespace std::chrono_literals;

constexpr size_t kManyProcesses = 8;

using OwnNamespaces = std::vector<std::pair<std::string, std::string>>;  // by name: its link

OwnNamespaces own_namespaces() {
  OwnNamespaces own;
  for (const char* name :
       {"mnt", "net", "pid", "pid_for_children", "user", "uts", "ipc", "cgroup", "time", "time_for_children"})
    if (auto link = sys::try_read_link(fmt::format("/proc/self/ns/{}", name))) own.emplace_back(name, std::move(*link));
  return own;
}

// Everything the new process gets from `restore` itself must be what the program has now. One that `restore` has put
// into namespaces of its own, for want of a right, is dumped from here like any other.
void refuse_foreign_namespaces(HostPid pid, const OwnNamespaces& own) {
  std::optional<bool> by_restore;
  for (const auto& [kind, ours] : own) {
    const auto theirs = sys::try_read_link(fmt::format("/proc/{}/ns/{}", pid, kind));
    if (!theirs || *theirs == ours) continue;
    if (!by_restore) by_restore = sys::lives_in_own_namespaces(pid);
    if (*by_restore && (kind == "pid" || kind == "pid_for_children" || kind == "user")) continue;
    throw Error(Fault::refused, fmt::format("it lives in another {} namespace ({})", kind, *theirs),
                "run mini-criu inside that namespace (nsenter), dumping whole containers is not built yet");
  }
}

void refuse_session(const procfs::Stat& stat, const DumpOptions& options) {
  if (options.shell_job) return;
  if (stat.session == stat.pid && stat.pgrp == stat.pid) return;
  throw Error(Fault::refused, fmt::format("it belongs to session {} of another process", stat.session),
              "give --shell-job when it was started from a shell, or start it with setsid");
}

// Of very many threads the first ones stand for all: the others are asked when they stand still, where it costs once
// instead of twice.
void refuse_threads(HostPid pid, HostPid view, Obstacles& obstacles) {
  constexpr size_t kBeforeTheFreeze = 64;
  std::vector<HostTid> tids = trace::threads_of(pid);
  if (!obstacles.wants_all()) tids.resize(std::min(tids.size(), kBeforeTheFreeze));
  for (const ThreadFiles& thread : read_thread_status(pid, tids))
    obstacles.pass([&] {
      trace::refuse_traced(thread.tid, thread.status);
      refuse_thread(view, thread);
      if (obstacles.wants_all()) refuse_core_cookie(thread.tid);
    });
}

// By the class in the head of its executable (elf(5)); x32 programs are of that class too. Registers, vdso and system
// calls of theirs are others.
void refuse_32_bit(HostPid pid) {
  const UniqueFd exe = sys::open(fmt::format("/proc/{}/exe", pid), O_RDONLY);
  unsigned char head[EI_NIDENT] = {};
  if (sys::pread_some(exe.get(), head, sizeof head, 0) != sizeof head || std::memcmp(head, ELFMAG, SELFMAG) != 0)
    return;
  if (head[EI_CLASS] != ELFCLASS64) throw Error(Fault::refused, "it is a 32-bit program", "run the 64-bit build of it");
}

std::vector<procfs::Mapping> mappings_of(HostPid pid) {
  return procfs::parse_maps(sys::read_text(fmt::format("/proc/{}/maps", pid)));
}

std::vector<procfs::Mapping> mappings_with_flags(HostPid pid) {
  procfs::SmapsParser parser;
  sys::read_pieces(fmt::format("/proc/{}/smaps", pid), [&](std::string_view piece) { parser.take(piece); });
  auto mappings = parser.finish();
  set_aside_tracking(pid, mappings);
  return mappings;
}

// What the tables of the tree are filled with, and asked.
struct Tables {
  const kinds::OpenFiles& files;
  MemorySharers& sharers;
  GpuUsers& gpu_users;
};

void look_at_memory(HostPid pid, const Tables& tables, kinds::OpenFiles::MappedNames& looked_at, Obstacles& obstacles) {
  const kinds::OpenFiles& files = tables.files;
  // Without the flags that only smaps has, which costs a walk through all page tables; frozen, they are looked at too.
  const auto mappings = obstacles.wants_all() ? mappings_with_flags(pid) : mappings_of(pid);
  tables.sharers.note(pid, mappings);
  tables.gpu_users.note(pid, mappings);
  tables.sharers.note_open(files.nameless(pid));
  if (std::ranges::any_of(mappings, [](const procfs::Mapping& m) { return mem::is_aio_ring(m); }))
    obstacles.pass([&] { refuse_endless_requests(pid); });
  if (obstacles.wants_all()) obstacles.pass([&] { inject::require_caves(pid, mappings); });
  const auto look = [&](const procfs::Mapping& m, bool) {
    if (mem::is_ring(m)) return refuse_lost_ring(files, m), 0u;
    if (mem::is_sysv_segment(m))
      files.look_at_segment(pid, static_cast<int>(m.inode), mappings);
    else
      files.look_at_mapping(pid, m, looked_at);
    return 0u;
  };
  mem::look_at_address_space(mappings, look, obstacles);
}

}  // namespace

void refuse_thread(HostPid view, const ThreadFiles& thread) {
  const procfs::Status& status = thread.status;
  const Step step("thread {} {}", thread.tid, status.name);
  if (status.seccomp == SECCOMP_MODE_STRICT)
    throw Error(Fault::refused, "it is in seccomp strict mode, which kills it for every system call that saving needs",
                "nothing can be asked of such a thread; dump the program before it enters that mode");
  if (status.seccomp != 0 && !sys::has_capability(CAP_SYS_ADMIN))
    throw Error(Fault::refused, "it has seccomp filters, which only CAP_SYS_ADMIN may read", "run mini-criu as root");
  if (status.state == 'Z' || status.state == 'X' || thread.tid.get() == view.get()) return;
  if (!thread.foreign_namespace.empty())
    throw Error(Fault::refused,
                fmt::format("it lives in another namespace than its process ({})", thread.foreign_namespace),
                "this cannot be saved yet: dump while no thread is in a namespace of its own (setns(2), unshare(2))");
  for (const auto& [type, what] : {std::pair{KCMP_FILES, "descriptors"}, std::pair{KCMP_FS, "a working directory"}})
    if (!sys::share_object(view.get(), thread.tid.get(), type).value_or(true) &&
        has_memory(HostPid(thread.tid.get())))  // one that is ending has neither any more
      throw Error(Fault::refused, fmt::format("it has {} of its own (unshare(2))", what), "this cannot be saved yet");
}

void refuse_core_cookie(HostTid tid) {
  if (const uint64_t cookie = sys::core_cookie_of(tid))
    throw Error(Fault::refused, fmt::format("thread {} has the core-scheduling cookie {:#x}", tid, cookie),
                "cookies cannot be saved yet: run the program without PR_SCHED_CORE");
}

// A dispatched thread whose selector blocks would be sent SIGSYS for its own way back, should we be killed. The
// selector is written by nobody but the thread.
void refuse_frozen_thread(const trace::Tracee& thread, HostPid view) {
  const HostTid tid = thread.tid();
  constexpr uint64_t kUserCode = 0x33, kXenUserCode = 0xe033;  // __USER_CS, FLAT_USER_CS64
  if (thread.frame().cs != kUserCode && thread.frame().cs != kXenUserCode)
    throw Error(Fault::refused, fmt::format("thread {} executes 32-bit code (its cs is {:#x})", tid, thread.frame().cs),
                "run the 64-bit build of the program");
  const sys::SyscallDispatch dispatch = sys::get_syscall_dispatch(tid);
  uint8_t selector = 1;
  if (dispatch.mode != 0 && (dispatch.selector == 0 ||
                             !sys::try_read_memory(view, RemoteAddr(dispatch.selector), &selector, 1) || selector != 0))
    throw Error(
        Fault::refused,
        fmt::format("the system calls of thread {} are dispatched to itself (PR_SET_SYSCALL_USER_DISPATCH)", tid),
        "dump it while its selector allows them, or run the program without it");
  if (sys::has_io_permissions(tid))
    throw Error(Fault::refused, fmt::format("thread {} may use I/O ports (ioperm)", tid),
                "ports belong to a machine and cannot be restored");
  refuse_core_cookie(tid);
}

// ARCH_ENABLE_TAGGED_ADDR (6.4); what /proc shows is what ARCH_GET_UNTAG_MASK tells.
void refuse_tagged_addresses(std::string_view status_file) {
  constexpr std::string_view kLine = "\nuntag_mask:\t", kNone = "0xffffffffffffffff";
  const size_t at = status_file.find(kLine);
  if (at == std::string_view::npos) return;
  std::string_view mask = status_file.substr(at + kLine.size());
  mask = mask.substr(0, mask.find('\n'));
  if (mask == kNone) return;
  throw Error(Fault::refused,
              fmt::format("it keeps tags in its addresses (linear address masking, untag mask {})", mask),
              "this cannot be saved yet: run the program without tagged addresses");
}

std::optional<tree::Member> member_of(HostPid pid) {
  const auto stat_text = sys::try_read_text(fmt::format("/proc/{}/stat", pid)),
             status_text = sys::try_read_text(fmt::format("/proc/{}/status", pid));
  if (!stat_text || !status_text) return std::nullopt;
  const auto stat = procfs::parse_stat(*stat_text);
  const auto status = procfs::parse_status(*status_text);
  const auto last = [](const auto& numbers, pid_t otherwise) {
    return numbers.empty() ? otherwise : static_cast<pid_t>(numbers.back());
  };
  return tree::Member{last(status.ns_pid, stat.pid),
                      trace::number_inside(HostTid(stat.ppid)),
                      last(status.ns_pgid, stat.pgrp),
                      last(status.ns_sid, stat.session),
                      {},
                      stat.exit_signal};
}

namespace {

// What asks nothing of tables that the processes have in common, and so can be asked by two threads.
void look_at_state(HostPid pid, HostPid view, const Tables& tables, kinds::OpenFiles::MappedNames& looked_at,
                   Obstacles& obstacles) {
  obstacles.pass([&] { refuse_threads(pid, view, obstacles); });
  const std::string status = sys::read_text(fmt::format("/proc/{}/status", view));
  obstacles.pass([&] { refuse_tagged_addresses(status); });
  obstacles.pass([&] { refuse_foreign_clocks(pid, view); });
  obstacles.pass([&] { refuse_foreign_label(view); });
  obstacles.pass([&] { refuse_tight_limits(view, status); });
  for (const char* name : {"cwd", "root", "exe"})
    obstacles.pass([&] { tables.files.look_at_path(view, fmt::format("/proc/{}/{}", view, name)); });
  obstacles.pass([&] { refuse_32_bit(view); });
  obstacles.pass([&] { look_at_memory(view, tables, looked_at, obstacles); });
}

void look_at_files(HostPid view, const Tables& tables, const sys::Deadline& deadline, Obstacles& obstacles) {
  if (tables.files.has_gpu_device(view)) tables.gpu_users.note_holder(view);
  obstacles.pass([&] { tables.files.look_at_controlling_terminal(view); });
  tables.files.look_at_descriptors(view, obstacles);
  obstacles.pass([&] { look_at_rings(view, tables.files, deadline); });
}

bool has_ended(HostPid pid) {
  const auto text = sys::try_read_text(fmt::format("/proc/{}/stat", pid));
  if (!text) return true;
  const char state = procfs::parse_stat(*text).state;
  return (state == 'Z' || state == 'X') && trace::living_thread(pid) == pid;
}

// One that is ending has no memory any more, and so no executable, before it is a zombie.
bool is_ending(HostPid pid) {
  constexpr timespec kTurn{0, 1'000'000};
  for (int turn = 0; turn < 200; ++turn) {
    if (has_ended(pid)) return true;
    if (sys::try_read_link(fmt::format("/proc/{}/exe", trace::living_thread(pid)))) return false;
    ::nanosleep(&kTurn, nullptr);
  }
  return false;
}

// Those below the first, parents before children. While they run a parent may end, and its children are somebody
// else's then: of a subreaper of the tree, or of nobody of ours (prctl(2), PR_SET_CHILD_SUBREAPER). Of one that is
// released while it is read the kernel tells no parent, session and group.
std::vector<tree::Member> sort_by_descent(const std::vector<tree::Member>& members) {
  std::map<pid_t, std::vector<const tree::Member*>> children;
  for (const tree::Member& m : members)
    if (&m != &members.front() && m.session > 0 && m.group > 0) children[m.parent].push_back(&m);
  std::vector<tree::Member> sorted{members.front()};
  for (size_t i = 0; i < sorted.size(); ++i)
    for (const tree::Member* child : children[sorted[i].pid]) sorted.push_back(*child);
  return sorted;
}

void refuse_family(const std::vector<HostPid>& tree, const DumpOptions& options, const SharedTables& tables) {
  std::vector<std::optional<tree::Member>> found(tree.size());
  std::vector<HostPid> views(tree);
  by_two_threads(tree.size(), kManyProcesses, [&](size_t i) {
    found[i] = member_of(tree[i]);
    views[i] = trace::living_thread(tree[i]);
  });
  std::vector<tree::Member> members;
  for (size_t i = 0; i < tree.size(); ++i) {
    auto& member = found[i];
    if (!member && tree[i] == options.tree) throw Error(Fault::system, "it is gone");
    if (!member) continue;
    const HostPid view = views[i];
    for (const tree::Shared what : tree::kShared)
      if (const auto sharers = tables.sharers(what, view); !sharers.empty())
        member->shared_with[static_cast<size_t>(what)] = tables.first(what, view).value_or(view).get();
    members.push_back(*member);
  }
  // What a restore will do, planned now, when the program can still be told to wait.
  tree::plan_creation(sort_by_descent(members), options.shell_job);
}

// Born after the look: what the look asks for and nothing asks for later.
void look_at_newcomer(HostPid pid, HostPid view) {
  const Step step("process {}", trace::describe_process(pid));
  refuse_foreign_namespaces(view, own_namespaces());
  refuse_foreign_label(view);
  refuse_foreign_clocks(pid, view);
  refuse_tight_limits(view, sys::read_text(fmt::format("/proc/{}/status", view)));
  refuse_32_bit(view);
}

// While it runs any of them may end at any time. One that is ending has lost its memory first, and to kcmp(2) those
// that have lost the same share nothing with each other.
SharedTables look_at_shared_tables(const std::vector<HostPid>& tree) {
  std::vector<std::optional<HostPid>> living(tree.size());
  by_two_threads(tree.size(), kManyProcesses, [&](size_t i) {
    if (!has_ended(tree[i])) living[i] = trace::living_thread(tree[i]);
  });
  std::vector<HostPid> views;
  for (const auto& view : living)
    if (view) views.push_back(*view);
  const auto leave_out_ended = [&] { return std::erase_if(views, [](HostPid view) { return !has_memory(view); }) > 0; };
  for (int unexplained = 0; unexplained < 5;) try {
      SharedTables tables(views);
      if (!leave_out_ended()) return tables;
    } catch (const Error&) {
      if (!leave_out_ended()) ++unexplained;
    }
  return {};
}

}  // namespace

// Of very many the first ones stand for all: the others are looked at when the program stands still, where it costs
// once instead of twice.
constexpr size_t kDescriptorsBeforeTheFreeze = 1024;

namespace {

// By two threads. Where it fails it is to be done again in order, so that the first obstacle is the one that is told.
template <typename Look>
std::vector<char> try_each(const std::vector<HostPid>& tree, const Look& look) {
  std::vector<char> passed(tree.size());
  if (tree.size() < kManyProcesses) return passed;
  by_two_threads(tree.size(), kManyProcesses, [&](size_t i) {
    try {
      look(tree[i]);
      passed[i] = 1;
    } catch (const Error&) {
    }
  });
  return passed;
}

std::vector<std::string> describe_all(const std::vector<HostPid>& tree) {
  std::vector<std::string> names;
  for (const HostPid pid : tree) names.push_back(trace::describe_process(pid));
  return names;
}

// What stands in the way of a tree that runs may be gone a moment later, or never have been: the tree was listed before
// something was born, or after it has ended. So it is looked at anew, and what is there again and again is told.
class Patience {
 public:
  // Of a program that changes all the time it is tried for so long; for less if less is given.
  explicit Patience(std::chrono::milliseconds timeout) : end_(sys::Clock::now() + 5s) {
    if (timeout.count() > 0) end_ = std::min(end_, sys::Clock::now() + timeout);
  }
  bool allows_another_look(const Error& error) {
    constexpr int kTold = 3;  // so often in the same words
    alike_ = error.what() == words_ ? alike_ + 1 : 1;
    words_ = error.what();
    if (alike_ == kTold || sys::Clock::now() > end_) return false;
    log::debug("look", "looked at once more: {}", words_);
    pause_ = std::min<std::chrono::milliseconds>(pause_ + 10ms, 50ms);
    std::this_thread::sleep_for(pause_);
    return true;
  }

 private:
  sys::Clock::time_point end_;
  std::chrono::milliseconds pause_{0};
  std::string words_;
  int alike_ = 0;
};

// In the order of the tree, with the name of each.
void look_at_each(const std::vector<HostPid>& tree, const DumpOptions& options, Obstacles& obstacles,
                  const std::function<void(HostPid, size_t)>& look) {
  const std::vector<std::string> names = describe_all(tree);
  for (size_t i = 0; i < tree.size(); ++i) {
    const Step step("process {}", names[i]);
    const Obstacles::About about(obstacles, tree[i]);
    const auto may_end = [&] { return tree[i] != options.tree && is_ending(tree[i]); };  // any of them, at any time
    const size_t before = obstacles.count();
    try {
      obstacles.pass([&] { look(tree[i], i); });
    } catch (const Error&) {
      if (!may_end()) throw;
    }
    if (obstacles.count() > before && may_end()) obstacles.forget_since(before);
  }
}

// The processes that the caller may look into, and how they are reached. Of any other nothing more is asked.
std::vector<HostPid> look_for_rights(std::vector<HostPid>& tree, const DumpOptions& options, const Caller& caller,
                                     Obstacles& obstacles) {
  const OwnNamespaces own = own_namespaces();
  const auto may_look = [&](HostPid pid) { refuse_untraceable(trace::living_thread(pid), caller); };
  const auto is_at_home = [&](HostPid pid) { refuse_foreign_namespaces(trace::living_thread(pid), own); };
  const std::vector<char> passed = try_each(tree, [&](HostPid pid) { may_look(pid), is_at_home(pid); });
  std::vector<HostPid> seen, views;
  look_at_each(tree, options, obstacles, [&](HostPid pid, size_t i) {
    const HostPid view = trace::living_thread(pid);
    const bool is_ours = passed[i] || obstacles.pass([&] { may_look(pid); });
    if (is_ours) seen.push_back(pid), views.push_back(view);
    if (is_ours && !passed[i]) is_at_home(pid);
  });
  tree = std::move(seen);
  return views;
}

void look_at_all(std::vector<HostPid> tree, const DumpOptions& options, const Caller& caller, kinds::OpenFiles& files,
                 const Tables& tables, const sys::Deadline& deadline, Obstacles& obstacles) {
  files.note_members(tree);
  const std::vector<HostPid> views = look_for_rights(tree, options, caller, obstacles);
  files.begin(views, obstacles.wants_all() ? SIZE_MAX : kDescriptorsBeforeTheFreeze);
  std::mutex taking;
  std::map<std::thread::id, kinds::OpenFiles::MappedNames> looked_at;
  const auto look_at_this = [&](HostPid pid, HostPid view, Obstacles& found) {
    std::unique_lock lock(taking);
    kinds::OpenFiles::MappedNames& names_seen = looked_at[std::this_thread::get_id()];
    lock.unlock();
    look_at_state(pid, view, tables, names_seen, found);
  };
  std::vector<char> looked(tree.size());
  if (!obstacles.wants_all())
    looked = try_each(tree, [&](HostPid pid) {
      Obstacles first;
      look_at_this(pid, trace::living_thread(pid), first);
    });
  look_at_each(tree, options, obstacles, [&](HostPid pid, size_t i) {
    if (!looked[i]) look_at_this(pid, views[i], obstacles);
    look_at_files(views[i], tables, deadline, obstacles);
  });
}

std::set<HostPid> look_once(const DumpOptions& options, const Caller& caller, kinds::OpenFiles files,
                            MemorySharers& sharers, GpuUsers& gpu_users, const sys::Deadline& deadline,
                            Obstacles& obstacles) {
  const std::vector<HostPid> tree = trace::tree_of(options.tree);
  const SharedTables shared = look_at_shared_tables(tree);
  obstacles.pass([&] { refuse_family(tree, options, shared); });
  look_at_all(tree, options, caller, files, {files, sharers, gpu_users}, deadline, obstacles);
  obstacles.pass([&] { sharers.refuse_outsiders(false); });
  obstacles.pass([&] { refuse_outside_sharers(shared, options.tree, tree); });
  files.look_at_sharers(obstacles);  // warns too: once
  return {tree.begin(), tree.end()};
}

}  // namespace

std::set<HostPid> look_at_tree(const DumpOptions& options, const Caller& caller, const kinds::DumpPolicy& policy,
                               kinds::Outsiders& outsiders, MemorySharers& sharers, GpuUsers& gpu_users,
                               Obstacles& obstacles) {
  const auto throw_ended = [] { throw Error(Fault::refused, "it has ended while it was looked at"); };
  trace::refuse_unfreezable(options.tree);
  const auto stat = sys::try_read_text(fmt::format("/proc/{}/stat", options.tree));
  if (!stat) throw_ended();
  obstacles.pass([&] { refuse_session(procfs::parse_stat(*stat), options); });
  const size_t before = obstacles.count();
  sys::Deadline deadline;
  if (options.timeout.count() > 0) deadline = sys::Clock::now() + options.timeout;
  for (Patience patience(options.timeout);;) try {
      sharers.forget(), gpu_users.forget(), obstacles.forget_since(before);
      auto tree =
          look_once(options, caller, kinds::OpenFiles(policy, outsiders), sharers, gpu_users, deadline, obstacles);
      obstacles.throw_if_any();
      return tree;
    } catch (const Error& error) {
      if (is_ending(options.tree)) throw_ended();
      if (!patience.allows_another_look(error)) throw;
    }
}

SharedTables look_at_frozen(const trace::FrozenTree& tree, const DumpOptions& options, const kinds::OpenFiles& files,
                            const std::set<HostPid>& known) {
  std::vector<HostPid> all, views;
  for (const auto& process : tree.processes()) {
    all.push_back(process->pid);
    if (process->zombie) continue;
    views.push_back(process->view());
    if (!known.contains(process->pid)) look_at_newcomer(process->pid, process->view());
  }
  SharedTables tables;
  if (views.size() > 1) tables = SharedTables(views);
  refuse_family(all, options, tables);
  for (const HostPid view : views) {
    const Step step("process {}", view);
    files.look_at_controlling_terminal(view);
    Obstacles first;
    files.look_at_descriptors(view, first);
  }
  return tables;
}

}  // namespace mcr::engine
