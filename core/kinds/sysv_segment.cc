#include "core/kinds/sysv_segment.h"

#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <time.h>

#include <algorithm>
#include <bit>
#include <charconv>

#include "core/base/log.h"
#include "core/kinds/open_files.h"
#include "core/kinds/sysv_ipc.h"
#include "core/sys/file.h"
#include "core/sys/memory_object.h"
#include "core/sys/process.h"

namespace mcr::kinds {
namespace {

constexpr std::string_view kPrefix = "/SYSV";  // and the key, eight hexadecimal digits
constexpr uint32_t kPermissions = 0777;

int key_of(const std::string& link) {
  uint32_t key = 0;
  const char* end = link.data() + link.size();
  if (!link.starts_with(kPrefix) || std::from_chars(link.data() + kPrefix.size(), end, key, 16).ec != std::errc())
    throw Error(Fault::system, fmt::format("{} is no name of a System V segment", link));
  return static_cast<int>(key);
}

bool process_exists(pid_t pid) {
  return sys::try_stat(fmt::format("/proc/{}", pid)).has_value();
}

// "4711 (cat), 4712 (dog)".
std::string attached_by(int id) {
  std::string who;
  for (const HostPid pid : users_of_segment(id)) {
    auto comm = sys::try_read_text(fmt::format("/proc/{}/comm", pid)).value_or("?");
    std::erase(comm, '\n');
    who += fmt::format("{}{} ({})", who.empty() ? "" : ", ", pid, comm);
  }
  return who.empty() ? "a process that cannot be seen" : who;
}

// Made for this image by a restore that was killed, or by nobody's need: never attached, so nothing is in it.
bool is_untouched(const sys::Segment& s) {
  return s.attached == 0 && s.last_user == 0 && !process_exists(s.creator);
}

// Left by a restore that was killed: meanwhile nobody may attach it.
bool is_being_filled(const image::SysvSegment& wanted, const sys::Segment& found) {
  return (found.mode & kPermissions) == 0 && wanted.mode() != 0;
}

std::string difference(const image::SysvSegment& wanted, const sys::Segment& found) {
  const bool is_new = is_untouched(found) || is_being_filled(wanted, found);
  if (found.size != wanted.size()) return fmt::format("has {} bytes, not {}", found.size, wanted.size());
  if (found.key != wanted.key() && !(wanted.removed() && found.key == IPC_PRIVATE))
    return fmt::format("has key {:#x}, not {:#x}", found.key, wanted.key());
  if (found.creator_uid != wanted.creator_uid() || found.creator_gid != wanted.creator_gid())
    return fmt::format("was made by user {}, group {}", found.creator_uid, found.creator_gid);
  if (!is_new && !wanted.removed() && (found.uid != wanted.uid() || found.gid != wanted.gid()))
    return fmt::format("belongs to user {}, group {}", found.uid, found.gid);
  if (!is_new && (found.mode & kPermissions) != wanted.mode())
    return fmt::format("has mode {:o}, not {:o}", found.mode & kPermissions, wanted.mode());
  return {};
}

// The last user alone does not tell: whoever reads something of a process below /proc while it is killed may be the one
// who gives its memory back, and its segments with it.
bool was_attached_since(const image::SysvSegment& wanted, const sys::Segment& found) {
  return !is_being_filled(wanted, found) && (wanted.attach_time() == 0 || found.attach_time != wanted.attach_time());
}

void check_existing(const image::SysvSegment& wanted, const sys::Segment& found, const std::set<int>& pids,
                    std::vector<Problem>& problems) {
  const std::string object = fmt::format("System V segment {}", wanted.id());
  const std::string remedy = fmt::format("if it may be lost: ipcrm -m {}", found.id);
  if (const std::string what = difference(wanted, found); !what.empty())
    problems.push_back({object, fmt::format("exists and {}: it is another one", what), remedy});
  else if (found.attached > 0)
    problems.push_back({object, fmt::format("is attached by {}", attached_by(found.id)),
                        "end that process: the content that the program had would be put into its memory"});
  else if (was_attached_since(wanted, found) && found.last_user != 0 && !pids.contains(found.last_user))
    problems.push_back({object,
                        fmt::format("was used since the dump, by process {}, which has ended: its content may be newer",
                                    found.last_user),
                        remedy});
}

}  // namespace

std::vector<HostPid> users_of_segment(int id) {
  std::vector<HostPid> users;
  for (const std::string& name : sys::list_directory("/proc")) {
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto text = sys::try_read_text("/proc/" + name + "/maps");
    if (!text || text->find(kPrefix) == std::string::npos) continue;
    const auto mappings = procfs::parse_maps(*text);
    if (std::ranges::any_of(mappings, [&](const procfs::Mapping& m) {
          return m.path.starts_with(kPrefix) && m.inode == static_cast<uint64_t>(id);
        }))
      users.emplace_back(std::stoi(name));
  }
  return users;
}

// ---- dump ----

void OpenFiles::look_at_segment(HostPid pid, int id, const std::vector<procfs::Mapping>& mappings) const {
  const Step step("System V segment {}", id);
  const auto segment = sys::find_segment(id);
  if (!segment) throw Error(Fault::refused, "it is not in this IPC namespace", "run mini-criu inside its namespace");
  for (const procfs::Mapping& m : mappings) {
    if (!m.path.starts_with(kPrefix) || m.inode != static_cast<uint64_t>(id)) continue;
    const auto status = sys::try_stat(fmt::format("/proc/{}/map_files/{:x}-{:x}", pid, m.start, m.end));
    if (status && status->st_blksize > 4096 && m.size() < segment->size)
      throw Error(Fault::refused, fmt::format("only a part of it is mapped at {:#x}, and it is on huge pages", m.start),
                  "let the program map all of it, with one protection");
  }
}

void OpenFiles::enter_segment(HostPid pid, int id, const std::string& door, images::ImageWriter& writer) {
  writer_ = &writer;
  for (const auto& known : segments_)
    if (known.id() == id) return;
  const Step step("System V segment {}", id);
  auto file = view_path(pid, door);
  const auto segment = sys::find_segment(id);
  if (!file || !segment) throw Error(Fault::refused, fmt::format("{} cannot be read", door), "run as root");
  image::SysvSegment message;
  message.set_id(id);
  message.set_key(key_of(file->link));
  message.set_size(segment->size);
  message.set_mode(segment->mode & kPermissions);
  message.set_uid(segment->uid), message.set_gid(segment->gid);
  message.set_creator_uid(segment->creator_uid), message.set_creator_gid(segment->creator_gid);
  message.set_removed((segment->mode & SHM_DEST) != 0);
  message.set_attach_time(segment->attach_time);
  message.set_locked((segment->mode & SHM_LOCKED) != 0);
  const UniqueFd fd = sys::open(door, O_RDONLY);
  if (sys::is_on_hugetlbfs(fd.get()))
    message.set_huge_page_shift(
        static_cast<uint32_t>(std::countr_zero(static_cast<uint64_t>(file->status.st_blksize))));
  file->status.st_mtim = {};  // of no file that anybody could ask
  message.set_ghost(enter_ghost(*file));
  segments_.push_back(std::move(message));
}

void OpenFiles::outlast_attachments() const {
  constexpr timespec kTurn{0, 10'000'000};
  constexpr int64_t kSecond = 1'000'000'000;
  int64_t last = 0;
  for (const image::SysvSegment& segment : segments_) last = std::max(last, segment.attach_time());
  for (int turn = 0; turn < 110 && static_cast<int64_t>(sys::clock_ns(CLOCK_REALTIME)) / kSecond <= last; ++turn)
    ::nanosleep(&kTurn, nullptr);
}

// ---- restore ----

Segments::~Segments() {
  if (kept_) return;
  for (const int32_t id : taken_over_)
    log::warning("kinds", "System V segment {} was there before; it is without permissions until a restore succeeds",
                 id);
  for (const int32_t id : made_)
    if (!sys::try_remove_segment(id) && !segment(id).removed())
      log::warning("kinds", "System V segment {}, made by this restore, is left", id);
}

void Segments::add(image::SysvSegment segment) {
  const int32_t id = segment.id();
  if (id < 0 || segment.size() == 0 || segment.size() > INT64_MAX || segment.mode() > kPermissions ||
      segment.huge_page_shift() > 40)
    throw Error(Fault::image, fmt::format("files.img: System V segment {} is none", id));
  segments_.emplace(id, std::move(segment));
}

const image::SysvSegment& Segments::segment(int32_t id) const {
  const auto found = segments_.find(id);
  if (found == segments_.end()) throw Error(Fault::image, fmt::format("files.img: there is no segment {}", id));
  return found->second;
}

void Segments::check(const std::set<int>& pids, std::vector<Problem>& problems) const {
  if (segments_.empty()) return;
  if (!sys::may_choose_segment_id())
    problems.push_back({"System V segments", "their ids cannot be chosen here", "give CAP_CHECKPOINT_RESTORE"});
  require_ipc_rights(
      "System V segments",
      std::ranges::any_of(
          segments_,
          [](const auto& entry) { return sys::is_other_user(entry.second.creator_uid(), entry.second.creator_gid()); }),
      problems);
  const int index = (1 << sys::segment_index_bits()) - 1;
  const auto existing = sys::list_segments();
  for (const auto& [id, wanted] : segments_)
    for (const sys::Segment& found : existing) {
      if (found.id == id) {
        check_existing(wanted, found, pids, problems);
      } else if ((found.id & index) == (id & index)) {
        problems.push_back({fmt::format("System V segment {}", id),
                            fmt::format("cannot have its id while there is segment {}", found.id),
                            fmt::format("end its users and remove it: ipcrm -m {}", found.id)});
      } else if (found.key == wanted.key() && found.key != IPC_PRIVATE && !wanted.removed()) {
        problems.push_back({fmt::format("System V segment {}", id),
                            fmt::format("has key {:#x}, which segment {} has now", wanted.key(), found.id),
                            fmt::format("end its users and remove it: ipcrm -m {}", found.id)});
      }
    }
}

bool Segments::prepare(int32_t id) {
  const image::SysvSegment& wanted = segment(id);
  if (!prepared_.insert(id).second) return false;
  const Step step("System V segment {}", id);
  const auto existing = sys::find_segment(id);
  if (existing) {  // the check found that it is the program's
    if (existing->attached != 0 || !difference(wanted, *existing).empty())
      throw Error(Fault::refused, "it has changed since the check", "restore again");
    taken_over_.insert(id);
    log::info("kinds", "System V segment {} is still there: taken over", id);
  }
  sys::Segment request;
  request.id = id, request.key = wanted.key(), request.size = wanted.size(), request.mode = wanted.mode();
  request.creator_uid = wanted.creator_uid(), request.creator_gid = wanted.creator_gid();
  // A removed segment has no key any more; the old one is only seen in /proc/PID/maps.
  const auto all = sys::list_segments();
  const auto has_key = [&](const sys::Segment& s) { return s.key == wanted.key() && s.key != IPC_PRIVATE; };
  if (wanted.removed() && std::any_of(all.begin(), all.end(), has_key)) request.key = IPC_PRIVATE;
  if (!existing) {
    if (!made_with_its_id([&] { return sys::try_make_segment(request, wanted.huge_page_shift()).has_value(); }))
      throw Error(Fault::refused, "its id went to another process", "restore again");
    made_.insert(id);
  }
  sys::own_segment(id, wanted.uid(), wanted.gid(), 0);
  return true;
}

void Segments::finish() {
  for (const int32_t id : prepared_) {
    const Step step("System V segment {}", id);
    const image::SysvSegment& wanted = segment(id);
    sys::own_segment(id, wanted.uid(), wanted.gid(), wanted.mode());
    if (segment(id).locked()) sys::lock_segment(id);
    if (segment(id).removed()) sys::remove_segment(id);
  }
}

std::map<uint32_t, uint64_t> Segments::huge_memory() const {
  std::map<uint32_t, uint64_t> bytes;
  for (const auto& [id, segment] : segments_)
    if (segment.huge_page_shift() != 0 && !sys::find_segment(id)) bytes[segment.huge_page_shift()] += segment.size();
  return bytes;
}

}  // namespace mcr::kinds
