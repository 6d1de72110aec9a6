#include "core/kinds/pty_table.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "core/kinds/file_names.h"
#include "core/kinds/pty_queues.h"
#include "core/procfs/status.h"
#include "core/sys/apart.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/sys/terminal.h"
#include "core/trace/frozen_tree.h"

namespace mcr::kinds {
namespace {

constexpr unsigned kSlaves = 136, kControls = 5;  // major numbers (Documentation/admin-guide/devices.txt)

bool is_slave(const FileView& file) {
  return S_ISCHR(file.status.st_mode) && major(file.status.st_rdev) == kSlaves;
}
bool is_dev_tty(const FileView& file) {
  return S_ISCHR(file.status.st_mode) && file.status.st_rdev == makedev(kControls, 0);
}

// As new_encode_dev() of the kernel puts it.
std::optional<uint32_t> index_of(int tty_nr) {
  const auto number = static_cast<unsigned>(tty_nr);
  if (((number >> 8) & 0xfff) != kSlaves) return std::nullopt;
  return (number & 0xff) | ((number >> 12) & 0xfff00);
}

// "tty-index:\t3" (pty_show_fdinfo, 4.15).
std::optional<uint32_t> index_of(const procfs::FdInfo& info) {
  constexpr std::string_view kKey = "tty-index:\t";
  for (const std::string& line : info.rest) {
    if (!line.starts_with(kKey)) continue;
    uint32_t index = 0;
    const char* end = line.data() + line.size();
    if (std::from_chars(line.data() + kKey.size(), end, index).ec == std::errc()) return index;
  }
  return std::nullopt;
}

std::optional<procfs::Stat> stat_of(HostPid pid) {
  const auto text = sys::try_read_text(fmt::format("/proc/{}/stat", pid));
  return text ? std::optional(procfs::parse_stat(*text)) : std::nullopt;
}

void put(const sys::Termios& from, image::Termios& to) {
  to.set_iflag(from.iflag), to.set_oflag(from.oflag), to.set_cflag(from.cflag), to.set_lflag(from.lflag);
  to.set_cc(std::string(from.cc.begin(), from.cc.end()));
  to.set_ispeed(from.ispeed), to.set_ospeed(from.ospeed);
}

}  // namespace

bool is_pty_master(const FileView& file) {
  return S_ISCHR(file.status.st_mode) && file.status.st_rdev == makedev(kControls, 2) && !(file.info.flags & O_PATH);
}

void PtyTable::begin(const std::vector<int>& outside_masters) {
  found_.clear(), slaves_.clear(), masters_.clear(), ends_.clear(), ptys_.clear();
  has_collected_ = false;
  for (const int master : outside_masters) note_outside(master);
}

void PtyTable::note_outside(int master) {
  constexpr char kFolder[] = "/dev/pts";
  const auto place = sys::try_stat(kFolder);
  if (!place) throw Error(Fault::refused, "/dev/pts is not there", "mount devpts there");
  Pty& pty = found_[{place->st_dev, sys::pty_index(master)}];
  pty.id = static_cast<uint32_t>(found_.size());
  pty.outside = master, pty.ptmx = "/dev/ptmx", pty.folder = kFolder;
}

// /dev/ptmx makes a terminal in the devpts that is mounted as pts beside it, a node ptmx inside a devpts in that
// (Documentation/filesystems/devpts.rst).
void PtyTable::note(const FileView& file) {
  if (file.info.flags & O_PATH) return;
  if (is_slave(file) || is_dev_tty(file)) slaves_.push_back(file);
  const auto index = is_pty_master(file) ? index_of(file.info) : std::nullopt;
  if (!index) return;
  std::string folder = folder_of(file.link);
  folder.pop_back();
  auto place = sys::try_stat(folder);
  if (place && place->st_dev != file.status.st_dev) place = sys::try_stat(folder += "/pts");
  if (place && place->st_dev == file.status.st_dev && !sys::try_stat(fmt::format("{}/{}", folder, *index)))
    place = sys::try_stat(folder += "/pts");
  if (!place) return;
  auto [entry, is_new] = found_.try_emplace({place->st_dev, *index});
  Pty& pty = entry->second;
  if (is_new) pty.id = static_cast<uint32_t>(found_.size());
  masters_.emplace_back(file, pty.id);
  if (!is_new) return;
  pty.view = file, pty.ptmx = file.link, pty.folder = folder;
}

bool PtyTable::has_terminal(int tty_nr) const {
  const auto index = index_of(tty_nr);
  return index && std::ranges::any_of(found_, [&](const auto& entry) { return entry.first.second == *index; });
}

bool PtyTable::has_master(const FileView& file) const {
  return std::ranges::any_of(masters_, [&](const auto& m) { return m.first.pid == file.pid && m.first.fd == file.fd; });
}

std::string PtyTable::slave_of(const FileView& master) const {
  for (const auto& [key, pty] : found_)
    for (const auto& [view, id] : masters_)
      if (id == pty.id && view.pid == master.pid && view.fd == master.fd)
        return fmt::format("{}/{}", pty.folder, key.second);
  return {};
}

bool PtyTable::has(const FileView& file) const {
  if (has_collected_) return end_of(file) != nullptr;
  if (is_slave(file)) return file.deleted || found_.contains({file.status.st_dev, minor(file.status.st_rdev)});
  if (!is_dev_tty(file)) return false;
  const auto stat = stat_of(file.pid);  // it may have given up the terminal that it opened so
  return stat && !found_.empty() && (stat->tty_nr == 0 || has_terminal(stat->tty_nr));
}

const image::PtyEnd* PtyTable::end_of(const FileView& file) const {
  const auto found = ends_.find({file.pid, file.fd});
  return found == ends_.end() ? nullptr : &found->second;
}

// What the file is an end of; nullptr: of a terminal outside of the tree.
PtyTable::Pty* PtyTable::find(const FileView& file, UniqueFd& copy) {
  const auto device = sys::terminal_device(copy.get());
  if (!device || major(*device) != kSlaves) return nullptr;
  for (auto& [key, pty] : found_)
    if (key.second == minor(*device) && (is_dev_tty(file) || key.first == file.status.st_dev)) return &pty;
  return nullptr;
}

void PtyTable::open_ends(const std::function<int(HostPid)>& pidfd_of) {
  for (auto& [key, pty] : found_)
    pty.master = pty.outside >= 0 ? sys::duplicate(pty.outside) : sys::get_fd(pidfd_of(pty.view.pid), pty.view.fd);
  for (const auto& [file, id] : masters_) {
    image::PtyEnd& end = ends_[{file.pid, file.fd}];
    end.set_pty(id), end.set_master(true), end.set_path(file.link);
  }
  for (const FileView& file : slaves_) {
    UniqueFd copy = sys::get_fd(pidfd_of(file.pid), file.fd);
    image::PtyEnd end;
    end.set_path(file.link);
    if (Pty* pty = find(file, copy)) {
      end.set_pty(pty->id);
      pty->has_slave = true;
      const bool may_both = (file.info.flags & O_ACCMODE) == O_RDWR;
      if (!pty->slave.valid() || (may_both && !pty->slave_may_both))
        pty->slave = std::move(copy), pty->slave_may_both = may_both;
    } else if (!sys::terminal_device(copy.get())) {
      end.set_index(is_slave(file) ? minor(file.status.st_rdev) : 0);
    } else {
      continue;
    }
    ends_.emplace(std::pair(file.pid, file.fd), std::move(end));
  }
}

void PtyTable::describe_session(const Pty& pty, image::Pty& record, const std::vector<HostPid>& members) {
  const pid_t session = sys::session_of_terminal(pty.master.get());
  if (session == 0) return;
  const pid_t foreground = sys::foreground_of_terminal(pty.master.get());
  if (std::ranges::find(members, HostPid(session)) == members.end())
    throw Error(Fault::refused,
                fmt::format("it is the controlling terminal of session {} outside of the tree", session),
                "dump the parent of both");
  bool is_there = foreground == 0;
  for (const HostPid member : members) {
    const auto stat = stat_of(member);
    if (!stat || stat->session != session) continue;
    is_there = is_there || stat->pgrp == foreground;
    if (stat->tty_nr == 0 && stat->state != 'Z') record.add_detached(trace::number_inside(HostTid(member.get())));
  }
  if (!is_there)
    throw Error(Fault::refused, fmt::format("its foreground group {} has ended", foreground),
                "the shell is about to name another: dump again a moment later");
  record.set_session(trace::number_inside(HostTid(session)));
  if (foreground != 0) record.set_foreground(trace::number_inside(HostTid(foreground)));
}

void PtyTable::describe(Pty& pty, image::Pty& record, const std::vector<HostPid>& members) {
  const int master = pty.master.get();
  const uint32_t index = sys::pty_index(master);
  if (pty.outside < 0 && (pty.view.info.flags & O_ACCMODE) != O_RDWR)
    throw Error(Fault::refused, "its master is open for one direction only", "open it for reading and writing");
  record.set_id(pty.id), record.set_ptmx(pty.ptmx), record.set_folder(pty.folder), record.set_index(index);
  const sys::Termios termios = sys::get_termios(master);
  put(termios, *record.mutable_termios());
  const sys::WindowSize size = sys::get_window_size(master);
  record.mutable_window()->set_rows(size.rows), record.mutable_window()->set_columns(size.columns);
  record.mutable_window()->set_xpixels(size.xpixels), record.mutable_window()->set_ypixels(size.ypixels);
  record.set_locked(sys::is_pty_locked(master)), record.set_packet(sys::is_packet_mode(master));
  record.set_master_exclusive(sys::is_exclusive(master));
  if (pty.has_slave) record.set_exclusive(sys::is_exclusive(pty.slave.get()));
  if (const auto node = sys::try_stat(fmt::format("{}/{}", pty.folder, index)))
    record.set_mode(node->st_mode & 07777), record.set_uid(node->st_uid), record.set_gid(node->st_gid);
  // What waits for a slave that nobody has ever opened cannot be seen: an open slave would be closed again, which the
  // master is told.
  const bool was_closed = (sys::poll_now(master, 0) & POLLHUP) != 0;
  record.set_slave(pty.has_slave ? image::Pty::OPEN : was_closed ? image::Pty::CLOSED : image::Pty::NEVER_OPENED);
  if (pty.has_slave ? !pty.slave_may_both : was_closed)
    if (auto peer = sys::try_open_peer(master, O_RDWR)) pty.slave = std::move(*peer), pty.slave_may_both = true;
  require_readable(master, pty.slave.valid() ? pty.slave.get() : -1, termios);
  const bool may_read = pty.slave.valid() && pty.slave_may_both;
  if (!may_read && (sys::bytes_readable(master) > 0 || (pty.has_slave && sys::poll_now(pty.slave.get(), POLLIN))))
    throw Error(Fault::refused, "what waits in it cannot be read, as its slave cannot be opened", "let it be read");
  if (!may_read) pty.slave.reset();
  describe_session(pty, record, members);
}

void PtyTable::read_all_queues() {
  std::vector<image::Pty*> order;
  for (auto& [key, pty] : found_)
    if (pty.slave.valid()) order.push_back(&ptys_.at(pty.id));
  if (order.empty()) return;
  const pid_t engine = sys::own_pid().get();
  const auto deliveries = sys::run_apart([&](const sys::Deliver& to) {
    for (auto& [key, pty] : found_) {
      if (!pty.slave.valid()) continue;
      if (::getppid() != engine) return;  // killed: the program runs, and what was not begun is not begun any more
      PtyQueues queues = read_queues(pty.master.get(), pty.slave.get());
      image::Pty part;
      part.set_output(queues.output), part.set_input(queues.input);
      for (const std::string& line : queues.lines) part.add_lines(line);
      to(part.SerializeAsString(), {});
    }
  });
  if (deliveries.size() != order.size()) throw Error(Fault::internal, "a terminal was not read");
  for (size_t i = 0; i < order.size(); ++i)
    if (!order[i]->MergeFromString(deliveries[i].bytes)) throw Error(Fault::internal, "a terminal was not read");
}

void PtyTable::collect(const std::function<int(HostPid)>& pidfd_of, const std::vector<HostPid>& members) {
  open_ends(pidfd_of);
  for (auto& [key, pty] : found_) {
    const Step step("process {}", pty.view.pid), file_step("fd {} terminal {}/{}", pty.view.fd, pty.folder, key.second);
    describe(pty, ptys_[pty.id], members);
  }
  read_all_queues();
  for (auto& [key, pty] : found_) pty.master.reset(), pty.slave.reset();
  has_collected_ = true;
}

}  // namespace mcr::kinds
