#include "core/kinds/ptys.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include <algorithm>
#include <set>

#include "core/base/bounds.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/kinds/file_names.h"
#include "core/kinds/kind.h"
#include "core/kinds/pty_queues.h"
#include "core/sys/apart.h"
#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "core/sys/terminal.h"

namespace mcr::kinds {
namespace {

constexpr size_t kMostWaiting = 4095;
constexpr int kAttempts = 20;
constexpr size_t kMostHolders = 256;
constexpr timespec kTurn{0, 50'000'000};
constexpr int kAccess = O_ACCMODE | O_LARGEFILE | O_NOFOLLOW | O_NONBLOCK;

std::string node_of(const image::Pty& record) {
  return fmt::format("{}/{}", record.folder(), record.index());
}

sys::Termios termios_of(const image::Pty& record) {
  const image::Termios& from = record.termios();
  sys::Termios to{from.iflag(), from.oflag(), from.cflag(), from.lflag(), 0, {}, from.ispeed(), from.ospeed()};
  std::copy(from.cc().begin(), from.cc().end(), to.cc.begin());
  return to;
}

[[noreturn]] void bad(const image::Pty& record, const std::string& what) {
  throw Error(Fault::image, fmt::format("files.img: terminal {}: {}", record.id(), what),
              "the image is damaged or was made by a faulty program");
}

void check_queues(const image::Pty& record) {
  size_t input = record.input().size();
  for (const std::string& line : record.lines()) input += line.size() + 1;
  if (input > 2 * kMostWaiting || record.output().size() > kMostWaiting) bad(record, "more waits in it than it holds");
  const bool is_empty = input == 0 && record.output().empty();
  if (record.slave() == image::Pty::NEVER_OPENED && (!is_empty || record.session() != 0))
    bad(record, "its slave was never opened, and yet something waits");
  if (record.lines_size() != 0 && !is_canonical(termios_of(record))) bad(record, "lines, but it is not canonical");
}

// "4711 (tmux)": who has the master of this number, as far as we may see.
std::string holder_of(uint32_t index) {
  const std::string line = fmt::format("tty-index:\t{}\n", index);
  for (const std::string& pid : sys::list_directory("/proc")) {
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string base = "/proc/" + pid;
    const auto fds = sys::try_list_directory(base + "/fd");
    if (!fds) continue;
    for (const std::string& fd : *fds) {
      if (!sys::try_read_link(base + "/fd/" + fd).value_or("").ends_with("ptmx")) continue;
      if (sys::try_read_text(base + "/fdinfo/" + fd).value_or("").find(line) == std::string::npos) continue;
      std::string comm = sys::try_read_text(base + "/comm").value_or("?");
      std::erase(comm, '\n');
      return fmt::format("{} ({})", pid, comm);
    }
  }
  return "a process that cannot be seen";
}

// Whoever opens /dev/tty gets the terminal that controls it. So a process of its own takes this one for a moment, as
// long as no session of the image has it.
UniqueFd open_as_controlling(int slave, const std::string& path, int flags) {
  auto deliveries = sys::run_apart([&](const sys::Deliver& to) {
    sys::take_terminal(slave);
    const UniqueFd fd = sys::open(path, flags);
    const int number = fd.get();
    to("tty", std::span(&number, 1));
    sys::leave_terminal(slave);
  });
  if (deliveries.size() != 1 || deliveries.front().files.size() != 1)
    throw Error(Fault::system, fmt::format("{} could not be opened", path));
  return std::move(deliveries.front().files.front());
}

UniqueFd open_slave(const image::FileObject& object, const std::string& node, int keeper) {
  const int flags = (static_cast<int>(object.flags()) & kAccess) | O_NOCTTY;
  const std::string path = body_of<image::PtyEnd>(object).path();
  const auto status = sys::try_stat(path);
  if (path != node && status && S_ISCHR(status->st_mode) && status->st_rdev == makedev(5, 0))
    return open_as_controlling(keeper, path, flags);
  return sys::open(node, flags);
}

void give_away(const image::Pty& record) {
  const std::string node = node_of(record);
  const auto now = sys::try_stat(node);
  if (!now || !S_ISCHR(now->st_mode)) throw Error(Fault::system, fmt::format("{} is no terminal", node));
  try {
    if (now->st_uid != record.uid() || now->st_gid != record.gid())
      sys::set_path_ownership(node, record.uid(), record.gid());
    if ((now->st_mode & 07777) != record.mode()) sys::set_path_mode(node, record.mode());
  } catch (const Error& error) {
    log::warning("kinds", "{} keeps the owner and mode that it was made with: {}", node, error.reason());
  }
}

bool is_ptmx(const std::string& path) {
  const auto status = sys::try_stat(path);
  return status && S_ISCHR(status->st_mode) && status->st_rdev == makedev(5, 2);
}

}  // namespace

void Ptys::add(image::Pty record) {
  if (record.id() == 0) bad(record, "its id cannot be 0");
  if (!bounds::is_kernel_path(record.ptmx()) || !bounds::is_kernel_path(record.folder())) bad(record, "a bad path");
  if (record.index() >= kMostPtys) bad(record, fmt::format("index cannot be {}", record.index()));
  if (record.termios().cc().size() > sys::Termios{}.cc.size()) bad(record, "too many control characters");
  if (!image::Pty::Slave_IsValid(record.slave())) bad(record, "its slave can be in no such state");
  if (record.mode() & ~07777u) bad(record, fmt::format("mode cannot be {:o}", record.mode()));
  const auto& w = record.window();
  for (const uint32_t n : {w.rows(), w.columns(), w.xpixels(), w.ypixels()})
    if (n > UINT16_MAX) bad(record, fmt::format("a window size of {}", n));
  for (const int32_t pid : {record.session(), record.foreground()})
    if (pid != 0 && !bounds::is_pid(pid)) bad(record, fmt::format("process {} cannot be", pid));
  check_queues(record);
  for (const auto& [id, other] : records_)
    if (node_of(other) == node_of(record) || (record.session() != 0 && other.session() == record.session()))
      bad(record, "it is another one's, too");
  const uint32_t id = record.id();
  if (!records_.emplace(id, std::move(record)).second)
    throw Error(Fault::image, fmt::format("files.img: terminal {} is described twice", id));
}

void Ptys::check_end(const image::FileObject& object) const {
  const auto end = body_of<image::PtyEnd>(object);
  if (end.pty() == 0) return;
  const auto found = records_.find(end.pty());
  if (found == records_.end()) throw Error(Fault::image, fmt::format("files.img: there is no terminal {}", end.pty()));
  if (!end.master() && found->second.slave() != image::Pty::OPEN) bad(found->second, "its slave is not open");
}

void Ptys::check(uint32_t id, std::vector<Problem>& problems) const {
  const image::Pty& record = records_.at(id);
  const std::string node = node_of(record);
  if (!is_ptmx(record.ptmx()))
    problems.push_back({record.ptmx(), "makes no pseudo-terminals here", "mount devpts there"});
  else if (sys::try_stat(node))
    problems.push_back({node, fmt::format("is taken: its master is open in {}", holder_of(record.index())),
                        "end that terminal, or wait until it is closed"});
}

// Its number may be another one, as nobody waits for it: who has the master is told by the kernel.
void Ptys::check_outside(uint32_t id, bool takes, std::vector<Problem>& problems) const {
  const auto found = records_.find(id);
  if (found == records_.end()) return;  // check_end() says so
  const image::Pty& record = found->second;
  if (!is_ptmx(record.ptmx()))
    problems.push_back({record.ptmx(), "makes no pseudo-terminals here", "mount devpts there"});
  if (!takes)
    problems.push_back({fmt::format("terminal {}", node_of(record)),
                        "a job had its other end, and nobody is there for it", "mini-criu resume brings the job back"});
}

// A slave is hung up when its master is closed.
void Ptys::hang_up(const image::FileObject& object) {
  const auto end = body_of<image::PtyEnd>(object);
  const Step step("hung-up terminal {}", end.path());
  std::string folder = folder_of(end.path());
  if (!is_ptmx(folder + "ptmx")) folder = "/dev/pts/";
  const std::string ptmx = folder == "/dev/pts/" && is_ptmx("/dev/ptmx") ? "/dev/ptmx" : folder + "ptmx";
  std::vector<UniqueFd> masters;
  uint32_t index = 0;
  do {
    masters.push_back(sys::open(ptmx, O_RDWR | O_NOCTTY));
    index = sys::pty_index(masters.back().get());
  } while (index < end.index());
  sys::set_pty_lock(masters.back().get(), false);
  const std::string node = fmt::format("{}{}", folder, index);
  const UniqueFd keeper = sys::open(node, O_RDWR | O_NOCTTY);
  slaves_[object.id()] = open_slave(object, node, keeper.get());
}

// The kernel gives the lowest number that is free. The check found ours free: who has it now may be about to go.
void Ptys::open_masters(const std::vector<uint32_t>& ids) {
  std::map<std::string, std::map<uint32_t, uint32_t>> wanted;  // ids by ptmx and index
  for (const uint32_t id : ids) wanted[records_.at(id).ptmx()][records_.at(id).index()] = id;
  for (auto& [ptmx, indexes] : wanted) {
    std::vector<UniqueFd> holders;
    int attempts = 0;
    while (!indexes.empty()) {
      UniqueFd master = sys::open(ptmx, O_RDWR | O_NOCTTY);
      const uint32_t index = sys::pty_index(master.get());
      if (index > indexes.rbegin()->first) {
        if (++attempts > kAttempts)
          throw Error(Fault::refused, fmt::format("terminal {} has been taken meanwhile", indexes.begin()->first),
                      "end that terminal, or try again");
        master.reset(), holders.clear();
        ::nanosleep(&kTurn, nullptr);
        continue;
      }
      const auto found = indexes.find(index);
      if (found == indexes.end()) {
        holders.push_back(std::move(master));
        continue;
      }
      made_[found->second].master = std::move(master);
      indexes.erase(found);
    }
  }
}

// With its old number, where that is free.
void Ptys::open_outside(uint32_t id) {
  image::Pty& record = records_.at(id);
  std::vector<UniqueFd> holders;
  for (;;) {
    UniqueFd master = sys::open(record.ptmx(), O_RDWR | O_NOCTTY);
    const uint32_t index = sys::pty_index(master.get());
    if (index >= record.index() || holders.size() == kMostHolders) {
      record.set_index(index);
      made_[id].master = std::move(master);
      outside_.insert(id);
      return;
    }
    holders.push_back(std::move(master));
  }
}

void Ptys::set_up(const image::Pty& record, Made& made) {
  const int master = made.master.get();
  const auto& w = record.window();
  sys::set_window_size(master, {static_cast<uint16_t>(w.rows()), static_cast<uint16_t>(w.columns()),
                                static_cast<uint16_t>(w.xpixels()), static_cast<uint16_t>(w.ypixels())});
  if (record.slave() == image::Pty::NEVER_OPENED) {
    sys::set_termios(master, termios_of(record));
  } else {
    sys::set_pty_lock(master, false);
    made.slave = sys::open(node_of(record), O_RDWR | O_NOCTTY);
    fill_queues(master, made.slave.get(), termios_of(record),
                {record.output(), {record.lines().begin(), record.lines().end()}, record.input()});
  }
  give_away(record);
}

void Ptys::make(const std::vector<const image::FileObject*>& objects) {
  std::set<uint32_t> ids, without_master;
  for (const auto* object : objects) {
    const auto end = body_of<image::PtyEnd>(*object);
    if (end.pty() == 0) hang_up(*object);
    if (end.pty() != 0) (end.master() ? ids : without_master).insert(end.pty());
  }
  open_masters({ids.begin(), ids.end()});
  for (const uint32_t id : without_master)
    if (!ids.contains(id)) open_outside(id);
  for (auto& [id, made] : made_) {
    const Step step("terminal {}", node_of(records_.at(id)));
    set_up(records_.at(id), made);
  }
  for (const auto* object : objects) {
    const auto end = body_of<image::PtyEnd>(*object);
    if (end.pty() == 0 || end.master()) continue;
    const Step step("terminal {}", end.path());
    slaves_[object->id()] = open_slave(*object, node_of(records_.at(end.pty())), made_.at(end.pty()).slave.get());
  }
}

std::map<pid_t, ControllingTerminal> Ptys::by_session() const {
  std::map<pid_t, ControllingTerminal> all;
  for (const auto& [id, made] : made_) {
    const image::Pty& record = records_.at(id);
    if (record.session() == 0 || !made.slave.valid()) continue;
    all[record.session()] = {
        made.slave.get(), record.foreground(), {record.detached().begin(), record.detached().end()}};
  }
  return all;
}

UniqueFd Ptys::take(const image::FileObject& object) {
  const auto end = body_of<image::PtyEnd>(object);
  if (end.master()) return sys::duplicate(made_.at(end.pty()).master.get());
  return std::move(slaves_.at(object.id()));
}

void Ptys::start(uint32_t id) {
  const image::Pty& record = records_.at(id);
  const Made& made = made_.at(id);
  if (record.exclusive() && made.slave.valid()) sys::set_exclusive(made.slave.get());
  if (record.master_exclusive()) sys::set_exclusive(made.master.get());
  sys::set_pty_lock(made.master.get(), record.locked());
  if (record.packet()) sys::set_packet_mode(made.master.get(), true);
}

void Ptys::start_outside() {
  for (const uint32_t id : outside_) start(id);
}

std::vector<UniqueFd> Ptys::outside_masters() const {
  std::vector<UniqueFd> masters;
  for (const uint32_t id : outside_) masters.push_back(sys::duplicate(made_.at(id).master.get()));
  return masters;
}

}  // namespace mcr::kinds
