#include "core/kinds/temporary_names.h"

#include <fcntl.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <set>
#include <thread>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/kinds/file_names.h"
#include "core/kinds/stray_names.h"
#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "core/sys/path_walk.h"
#include "core/sys/place.h"
#include "core/sys/process.h"

namespace mcr::kinds {
namespace {

using namespace std::chrono_literals;

constexpr int kCountedWorkshops = 16;  // those are found again by the next restore; further ones have random names
constexpr int kMostAttempts = 1000;
constexpr size_t kLongestName = 255;  // NAME_MAX
constexpr auto kPatience = 10s;       // as long another restore may need for a folder
constexpr auto kShortPatience = 1s;   // and for a name: there are others beside it

std::string workshop_name(int attempt) {
  if (attempt < kCountedWorkshops) return fmt::format("{}{}", kWorkshopPrefix, attempt);
  std::random_device source;
  return fmt::format("{}{}-{:08x}", kWorkshopPrefix, attempt, source());
}

// Until nobody uses the name any more, or the time is over. What was left behind is gone then.
Stray wait_for(const Folder& folder, const std::string& name, std::chrono::milliseconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  for (;;) {
    const Stray found = remove_stray(folder.fd.get(), name, folder.workshop_name);
    if (found != Stray::in_use || std::chrono::steady_clock::now() > end) return found;
    std::this_thread::sleep_for(10ms);
  }
}

}  // namespace

TemporaryNames::~TemporaryNames() {
  for (; !names_.empty(); names_.pop_back()) {
    Name& name = names_.back();
    try {
      if (take_away(name)) continue;
    } catch (const std::exception&) {  // told below
    }
    log::error("kinds", "{}/{}, which this restore made, could not be removed", name.folder->path, name.name);
  }
}

void TemporaryNames::remove() {
  for (; !names_.empty(); names_.pop_back()) {
    Name& name = names_.back();
    if (!take_away(name))
      throw Error(Fault::refused,
                  fmt::format("{}/{} was moved or replaced while it was needed", name.folder->path, name.name),
                  "restore again when nobody changes that folder");
  }
}

// false: it is not there any more.
bool TemporaryNames::take_away(Name& name) {
  if (name.is_workshop) {
    discard_workshop(name.folder->fd.get(), name.name, name.folder->workshop.get());
    name.folder->workshop.reset();
    return true;
  }
  const auto now = sys::try_stat_at(name.folder->fd.get(), name.name);
  if (!now || !is_same_file(*now, name.made)) return false;
  sys::unlink_at(name.folder->fd.get(), name.name, S_ISDIR(name.made.st_mode));
  return true;
}

Folder& TemporaryNames::keep(Folder folder) {
  Folder& kept = folders_.emplace_back(std::move(folder));
  by_path_.emplace(kept.path, &kept);
  return kept;
}

Folder& TemporaryNames::folder_of(int fd, const std::string& path) {
  if (const auto known = by_path_.find(path); known != by_path_.end()) return *known->second;
  return keep({path, sys::duplicate(fd), {}, {}});
}

Folder& TemporaryNames::folder(const std::string& path) {
  const std::string clean = path.substr(0, path.find_last_not_of('/') + 1);
  if (const auto known = by_path_.find(clean); known != by_path_.end()) return *known->second;
  if (clean.empty()) return keep({clean, sys::open("/", O_PATH | O_DIRECTORY), {}, {}});
  Folder& parent = folder(clean.substr(0, clean.rfind('/')));
  return open_folder(parent, clean.substr(clean.rfind('/') + 1), clean);
}

Folder& TemporaryNames::open_folder(Folder& parent, const std::string& name, const std::string& path) {
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    wait_while_used(parent, name);
    int code = 0;
    if (auto fd = sys::probe_open_in(parent.fd.get(), name, O_PATH | O_DIRECTORY, code))
      return keep({path, std::move(*fd), {}, {}});
    if (sys::try_stat_at(parent.fd.get(), name))  // a link, most likely
      return keep({path, sys::open_path(path, O_PATH | O_DIRECTORY), {}, {}});
    UniqueFd holder;
    const Place made = make_node(parent, name, {S_IFDIR | 0700, 0, {}}, nullptr, holder);
    if (made.name == name) return keep({path, std::move(holder), {}, {}});
  }
  throw Error(Fault::refused, fmt::format("{} comes and goes", path), "restore again when nobody changes that folder");
}

void TemporaryNames::wait_while_used(Folder& parent, const std::string& name) {
  if (!is_own(parent, name) && wait_for(parent, name, kPatience) == Stray::in_use)
    throw Error(Fault::refused, fmt::format("{}/{} is needed by another restore", parent.path, name),
                "restore again when that one has ended");
}

bool TemporaryNames::have_workshop(Folder& folder) {
  for (int attempt = 0; !folder.workshop.valid() && attempt < kMostAttempts; ++attempt) {
    std::string name = workshop_name(attempt);
    bool is_locked = false;
    auto workshop = take_workshop(folder.fd.get(), name, is_locked);
    if (!workshop || sys::stat_fd(workshop->get()).st_uid != sys::effective_uid()) continue;
    folder.workshop = std::move(*workshop);
    if (is_locked) folder.workshop_name = name;
    names_.push_back({&folder, std::move(name), {}, true});
  }
  if (!folder.workshop.valid())
    throw Error(Fault::refused, fmt::format("{}/ is full of names that begin with {}", folder.path, kWorkshopPrefix),
                "remove them");
  return !folder.workshop_name.empty();
}

void TemporaryNames::mark_file(int fd, const std::vector<Folder*>& folders) {
  std::set<std::string> makers;
  try {
    for (Folder* folder : folders)
      if (have_workshop(*folder)) makers.insert(folder->workshop_name);
  } catch (const Error& error) {
    log::debug("kinds", "nothing will tell whose the file is: {}", error.reason());
    return;
  }
  if (!makers.empty()) sys::try_mark(fd, kGhostMark, fmt::format("{}", fmt::join(makers, "/")));
}

bool TemporaryNames::is_own(const Folder& folder, const std::string& name) const {
  return std::any_of(names_.begin(), names_.end(),
                     [&](const Name& own) { return own.folder == &folder && own.name == name; });
}

// What killed restores have left goes; what others use is waited for a little.
std::string TemporaryNames::free_name(Folder& folder, const std::string& name, int attempt) {
  if (attempt == 0) {
    if (!sys::try_stat_at(folder.fd.get(), name)) return name;
    if (!is_own(folder, name) && wait_for(folder, name, kShortPatience) == Stray::gone) return name;
    remove_strays_beside(folder.fd.get(), name + std::string(kOtherName), folder.workshop_name,
                         [&](const std::string& other) { return is_own(folder, other); });
    attempt = 1;
  }
  const std::string end = fmt::format("{}{}.{}", kOtherName, sys::own_pid(), attempt);
  return name.substr(0, kLongestName - end.size()) + end;
}

Place TemporaryNames::enter(Folder& folder, const std::string& name, const struct stat& made) {
  names_.push_back({&folder, name, made, false});
  return {&folder, name};
}

Place TemporaryNames::link(const std::string& door, Folder& folder, const std::string& name) {
  const UniqueFd file = sys::open(door, O_PATH);
  const struct stat status = sys::stat_fd(file.get());
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    const std::string free = free_name(folder, name, attempt);
    if (sys::try_link_through(door, folder.fd.get(), free)) return enter(folder, free, status);
  }
  throw Error(Fault::refused, fmt::format("{}/{} and the names beside it are taken", folder.path, name));
}

Place TemporaryNames::create_file(Folder& folder, const std::string& name, UniqueFd& file) {
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    const std::string free = free_name(folder, name, attempt);
    if (sys::try_stat_at(folder.fd.get(), free)) continue;
    file = sys::open_at(folder.fd.get(), free, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    return enter(folder, free, sys::stat_fd(file.get()));
  }
  throw Error(Fault::refused, fmt::format("{}/{} and the names beside it are taken", folder.path, name));
}

Place TemporaryNames::make_node(Folder& folder, const std::string& name, const Node& node, const Finish& finish,
                                UniqueFd& holder) {
  const bool is_marked = have_workshop(folder), is_folder = S_ISDIR(node.mode);
  const int workshop = folder.workshop.get();
  const std::string inside(kUnfinished);
  if (is_folder)
    sys::make_directory_at(workshop, inside, 0700);
  else
    sys::make_node_at(workshop, inside, node.mode, node.device, node.target);
  if (is_marked) sys::try_mark_at(workshop, inside, mark_for(node.mode), folder.workshop_name);
  holder = sys::open_in(workshop, inside, O_PATH | O_NOFOLLOW);
  if (finish) finish(workshop, inside);
  const struct stat status = sys::stat_fd(holder.get());
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    const std::string free = free_name(folder, name, attempt);
    if (sys::try_rename_to_free(workshop, inside, folder.fd.get(), free)) return enter(folder, free, status);
  }
  throw Error(Fault::refused, fmt::format("{}/{} and the names beside it are taken", folder.path, name));
}

void TemporaryNames::unmark(const std::string& door, mode_t mode) {
  sys::try_remove_attribute(door, mark_for(mode));
}

}  // namespace mcr::kinds
