// epoll(7). What it watches are open files, each with the number that it was added with: whether that number still
// leads there does not matter to it. So the watches are made when all open files are there.
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <tuple>

#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/procfs/event_files.h"
#include "core/sys/epoll_file.h"
#include "core/sys/event_file.h"
#include "core/sys/file.h"

namespace mcr::kinds {
namespace {

constexpr int kMostNumber = 1 << 30;     // NR_OPEN can be no higher
constexpr uint32_t kModes = 0xf0000000;  // EPOLLEXCLUSIVE, WAKEUP, ONESHOT, ET: the others are events
constexpr uint32_t kAllEvents = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDNORM | EPOLLWRNORM;

// A one-shot that has been told keeps its modes only (epoll_ctl(2)).
bool is_told(uint32_t events) {
  return (events & ~kModes) == 0;
}

// The descriptor in the tree that leads to what the epoll watches: nearly always the one with its own number.
struct Found {
  HostPid pid;
  int fd = -1;
};
std::optional<Found> find_target(const OpenFiles& table, const procfs::WatchInfo& watch, const sys::EpollSlot& slot,
                                 bool is_entered) {
  const auto is_it = [&](HostPid pid, int fd) { return sys::is_watched(pid, fd, slot).value_or(false); };
  const auto may_be_it = [&](const FileView& file) {
    return file.status.st_ino == watch.inode && file.status.st_dev == watch.device;
  };
  // An epoll that lies in a message has a descriptor of ours, and the number beside it may be anything.
  if ((!is_entered || table.id_of(slot.pid, watch.fd) != 0) && is_it(slot.pid, watch.fd))
    return Found{slot.pid, watch.fd};
  for (const auto& [pid, files] : table.views())
    for (const FileView& file : files)
      if (may_be_it(file) && is_it(pid, file.fd)) return Found{pid, file.fd};
  for (const FileView& file : table.in_flight_views())
    if (may_be_it(file) && is_it(file.pid, file.fd)) return Found{file.pid, file.fd};
  return std::nullopt;
}

[[noreturn]] void refuse_lost(const procfs::WatchInfo& watch) {
  throw Error(Fault::refused,
              fmt::format("it watches a file, added as number {}, that no process of the tree has open", watch.fd),
              "dump what has it open too, or let the program take it out (EPOLL_CTL_DEL)");
}

std::optional<procfs::WatchInfo> find_lost(const FileView& file, const std::vector<procfs::WatchInfo>& watches,
                                           const OpenFiles& table) {
  std::map<int, uint32_t> seen;
  for (const procfs::WatchInfo& watch : watches)
    if (!find_target(table, watch, {file.pid, file.fd, watch.fd, seen[watch.fd]++}, false)) return watch;
  return std::nullopt;
}

// As the process numbers itself. A thread may stand for a leader that has ended.
pid_t own_number_of(HostPid view) {
  const auto tgid = procfs::parse_status(sys::read_text(fmt::format("/proc/{}/status", view))).tgid;
  return procfs::parse_status(sys::read_text(fmt::format("/proc/{}/status", tgid))).ns_pid.back();
}

// Signals are those of whoever has made the watch (signalfd(2)), which nobody is told: the first that can have done
// so.
void choose_adder(const OpenFiles& table, uint32_t epoll, image::EpollWatch& watch) {
  for (const auto& [pid, files] : table.views()) {
    if (table.id_of(pid, watch.fd()) != watch.target()) continue;
    const auto own = std::find_if(files.begin(), files.end(),
                                  [&, pid = pid](const FileView& file) { return table.id_of(pid, file.fd) == epoll; });
    if (own == files.end()) continue;
    watch.set_adder_pid(own_number_of(pid));
    watch.set_adder_epoll(own->fd);
    return;
  }
  throw Error(Fault::refused,
              fmt::format("it watches a signalfd under the number {}, which is closed or another file's", watch.fd()),
              "let the program take it out (EPOLL_CTL_DEL) before it closes the descriptor");
}

class EpollKind : public Kind {
 public:
  const char* name() const override { return "epoll"; }
  bool claims(const FileView& file) const override { return file.link == "anon_inode:[eventpoll]"; }
  // What is watched may lie in a message, which nobody can look into yet. A program that runs takes watches out and
  // adds others meanwhile: what is missing twice is missing.
  void look(const FileView& file, const OpenFiles& table) const override {
    const auto watches = procfs::watches_of(file.info);
    const bool may_lie_elsewhere = table.sockets().has_collected() || table.sockets().may_hold_more();
    if (!table.knows_all() || may_lie_elsewhere || !find_lost(file, watches, table)) return;
    const auto text = sys::try_read_text(fmt::format("/proc/{}/fdinfo/{}", file.pid, file.fd));
    if (!text) return;
    if (const auto lost = find_lost(file, procfs::watches_of(procfs::parse_fdinfo(*text)), table)) refuse_lost(*lost);
  }

  void dump(const FileView& file, OpenFiles&, image::FileObject& object) const override {
    image::Epoll message;
    message.set_idle(sys::poll_now(file.copy, POLLIN) == 0);
    const sys::BusyPolling polling = sys::busy_polling_of(file.copy);
    message.set_busy_poll_usecs(polling.usecs);
    message.set_busy_poll_budget(polling.budget);
    message.set_prefer_busy_poll(polling.is_preferred);
    object.mutable_body()->PackFrom(message);
  }

  void connect(const FileView& file, const OpenFiles& table, image::FileObject& object) const override {
    auto message = body_of<image::Epoll>(object);
    std::map<int, uint32_t> seen;
    for (const procfs::WatchInfo& watch : procfs::watches_of(file.info)) {
      const auto found = find_target(table, watch, {file.pid, file.fd, watch.fd, seen[watch.fd]++}, true);
      if (!found) refuse_lost(watch);
      auto* made = message.add_watches();
      made->set_fd(watch.fd);
      made->set_events(watch.events);
      made->set_data(watch.data);
      made->set_target(table.id_of(found->pid, found->fd));
      if (table.objects().at(made->target() - 1).kind() == "signal_file") choose_adder(table, object.id(), *made);
    }
    // The kernel has them in the order of its own addresses.
    std::sort(message.mutable_watches()->begin(), message.mutable_watches()->end(), [](const auto& a, const auto& b) {
      return std::tuple(a.fd(), a.data(), a.events()) < std::tuple(b.fd(), b.data(), b.events());
    });
    object.mutable_body()->PackFrom(message);
  }

  void require_valid(const image::FileObject& object) const override {
    const auto message = body_of<image::Epoll>(object);
    for (const auto& watch : message.watches()) {
      if (watch.fd() < 0 || watch.fd() >= kMostNumber)
        throw Error(Fault::image, fmt::format("a watch: fd cannot be {}", watch.fd()));
      if (watch.adder_pid() < 0 || watch.adder_epoll() < 0)
        throw Error(Fault::image, fmt::format("watch of {}: adder cannot be {}", watch.fd(), watch.adder_pid()));
      if (watch.target() == object.id()) throw Error(Fault::image, "it watches itself");
    }
    if (message.busy_poll_usecs() > INT32_MAX || message.busy_poll_budget() > UINT16_MAX)
      throw Error(Fault::image, "busy polling cannot be so");
  }

  void check(const image::FileObject& object, const OpenedFiles& table, std::vector<Problem>&) const override {
    const auto message = body_of<image::Epoll>(object);
    for (const auto& watch : message.watches()) table.object(watch.target());
  }

  UniqueFd restore(const image::FileObject& object, OpenedFiles&) const override {
    const auto message = body_of<image::Epoll>(object);
    UniqueFd fd = sys::make_epoll();
    sys::set_status_flags(fd.get(), static_cast<int>(object.flags()));
    if (message.busy_poll_usecs() != 0 || message.busy_poll_budget() != 0 || message.prefer_busy_poll())
      sys::set_busy_polling(fd.get(), {message.busy_poll_usecs(), static_cast<uint16_t>(message.busy_poll_budget()),
                                       message.prefer_busy_poll()});
    return fd;
  }

  void connect(const image::FileObject& object, int fd, OpenedFiles& table) const override {
    const auto message = body_of<image::Epoll>(object);
    std::vector<const image::EpollWatch*> edges, others;
    for (const auto& watch : message.watches()) {
      const Step step("watch of {}", watch.fd());
      if (watch.adder_pid() != 0)
        table.watches().push_back({watch.adder_pid(), watch.adder_epoll(), watch.fd(), watch.events(), watch.data()});
      else if (is_told(watch.events()))
        add_told(fd, watch, table);
      else
        (is_of_tree_alone(watch, table) ? edges : others).push_back(&watch);
    }
    for (const auto* watch : edges) add(fd, *watch, watch->events(), table);
    // Whatever is ready is told when it is added. Nothing was ready that had not been told before: it is taken as told.
    if (message.idle() && !edges.empty())
      for (size_t i = 0; i <= edges.size() && !sys::take_events(fd, 64).empty(); ++i) {
      }
    for (const auto* watch : others) add(fd, *watch, watch->events(), table);
  }

 private:
  // A file that only a process itself could open is known to the engine too, by now.
  static int target_of(OpenedFiles& table, const image::EpollWatch& watch) {
    if (const auto late = table.opened_late(watch.target())) return *late;
    return table.open(watch.target());
  }

  // Edges of what nobody outside of the tree can make ready meanwhile.
  static bool is_of_tree_alone(const image::EpollWatch& watch, const OpenedFiles& table) {
    const std::string& kind = table.object(watch.target()).kind();
    return (watch.events() & EPOLLET) && !(watch.events() & EPOLLONESHOT) &&
           (kind == "pipe" || kind == "event_counter");
  }

  static void add(int fd, const image::EpollWatch& watch, uint32_t events, OpenedFiles& table) {
    const Step step("watch of {}", watch.fd());
    sys::add_watch(fd, target_of(table, watch), watch.fd(), {events, watch.data()});
  }

  // EPOLL_CTL_ADD makes every watch one that tells; it becomes one that has told by telling. The epoll has no other
  // watch that could be ready yet.
  static void add_told(int fd, const image::EpollWatch& watch, OpenedFiles& table) {
    const int target = target_of(table, watch);
    sys::add_watch(fd, target, watch.fd(), {watch.events() | EPOLLONESHOT | kAllEvents, watch.data()});
    if (!sys::take_events(fd, 1).empty() || tell_by_force(fd, watch, table)) return;
    // Of what cannot be made ready: it tells of errors and of a peer that has gone, as the kernel adds those to any
    // mask.
    sys::change_watch(fd, target, watch.fd(), {watch.events(), watch.data()});
  }

  static bool tell_by_force(int fd, const image::EpollWatch& watch, OpenedFiles& table) {
    const int target = target_of(table, watch);
    const image::FileObject& object = table.object(watch.target());
    if (object.kind() == "timer_file") {
      sys::set_timer_ticks(target, 1);  // it is armed later, which takes them away
      return !sys::take_events(fd, 1).empty();
    }
    if (object.kind() != "pipe" || (object.flags() & O_ACCMODE) != O_RDONLY) return false;
    char byte = 0;  // the pipe is empty, or the watch would have told
    sys::write_fully(sys::open(fmt::format("/proc/self/fd/{}", target), O_WRONLY | O_NONBLOCK).get(), &byte, 1);
    const bool has_told = !sys::take_events(fd, 1).empty();
    sys::read_exactly(target, &byte, 1);
    return has_told;
  }
};

}  // namespace

const Kind* epoll_kind() {
  static const EpollKind kind;
  return &kind;
}

}  // namespace mcr::kinds
