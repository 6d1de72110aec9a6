#include "core/kinds/stray_names.h"

#include <fcntl.h>

#include <algorithm>
#include <vector>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/kinds/file_names.h"
#include "core/sys/file.h"
#include "core/sys/place.h"

namespace mcr::kinds {
namespace {

constexpr int kDeepest = 128;  // of folders in folders

bool is_workshop_name(const std::string& text) {
  return text.starts_with(kWorkshopPrefix) && text.size() > kWorkshopPrefix.size() &&
         text.find('/') == std::string::npos && text.find('\0') == std::string::npos;
}

// The workshops that a mark names: one in each folder where the file has a name. nullopt: it is no mark of ours.
std::optional<std::vector<std::string>> workshops_in(const std::string& mark) {
  std::vector<std::string> names;
  for (size_t at = 0; at < mark.size();) {
    const size_t end = std::min(mark.find('/', at), mark.size());
    names.push_back(mark.substr(at, end - at));
    if (!is_workshop_name(names.back())) return std::nullopt;
    at = end + 1;
  }
  return names;
}

bool leads_to(int folder, const std::string& name, const struct stat& status) {
  const auto now = sys::try_stat_at(folder, name);
  return now && is_same_file(*now, status);
}

Stray remove_stray_at(int folder, const std::string& name, const std::string& held, int depth);

// Only what is marked; anything else was put there by others, and keeps the folder in being.
void empty_folder(int folder, int depth) {
  if (depth > kDeepest) return;
  for (const std::string& entry : sys::list_directory_fd(folder)) {
    if (!is_workshop_name(entry)) {
      remove_stray_at(folder, entry, {}, depth);
      continue;
    }
    bool is_locked = false;
    if (const auto workshop = take_workshop(folder, entry, is_locked)) discard_workshop(folder, entry, workshop->get());
  }
}

// Whoever removes it holds its workshop meanwhile: nobody else does the same, nor makes anything of that mark.
Stray remove_held(int folder, const std::string& name, const struct stat& status, int depth) {
  if (S_ISDIR(status.st_mode)) {
    int code = 0;
    const auto inside = sys::probe_open_in(folder, name, O_RDONLY | O_DIRECTORY, code);
    if (inside && is_same_file(sys::stat_fd(inside->get()), status)) empty_folder(inside->get(), depth + 1);
  }
  if (!leads_to(folder, name, status)) return Stray::in_use;
  if (sys::try_unlink_at(folder, name, S_ISDIR(status.st_mode))) return Stray::gone;
  log::warning("kinds", "{}, left by a restore that was killed, could not be removed", name);
  return Stray::not_ours;
}

// Those that a mark names, locked.
class Workshops {
 public:
  explicit Workshops(int folder) : folder_(folder) {}
  Workshops(const Workshops&) = delete;
  Workshops& operator=(const Workshops&) = delete;
  ~Workshops() {
    for (const auto& [name, fd] : taken_) discard_workshop(folder_, name, fd.get());
  }
  Stray take(const std::string& name) {
    bool is_locked = false;
    auto workshop = take_workshop(folder_, name, is_locked);
    if (!workshop) return Stray::in_use;
    taken_.emplace_back(name, std::move(*workshop));
    return is_locked ? Stray::gone : Stray::not_ours;
  }

 private:
  int folder_;
  std::vector<std::pair<std::string, UniqueFd>> taken_;
};

Stray remove_stray_at(int folder, const std::string& name, const std::string& held, int depth) {
  const auto status = sys::try_stat_at(folder, name);
  if (!status) return Stray::gone;
  const auto mark = sys::mark_at(folder, name, mark_for(status->st_mode));
  const auto makers = mark ? workshops_in(*mark) : std::nullopt;
  if (!makers) return Stray::not_ours;
  try {
    Workshops taken(folder);
    for (const std::string& maker : *makers) {
      const Stray result = maker == held ? Stray::gone : taken.take(maker);
      if (result != Stray::gone) return result;
    }
    return remove_held(folder, name, *status, depth);
  } catch (const Error& error) {
    log::debug("kinds", "{} stays: {}", name, error.reason());
    return Stray::not_ours;
  }
}

}  // namespace

std::optional<UniqueFd> take_workshop(int folder, const std::string& name, bool& is_locked) {
  const bool is_new = sys::try_make_directory_at(folder, name, 0700);
  int code = 0;
  auto workshop = sys::probe_open_in(folder, name, O_RDONLY | O_DIRECTORY, code);
  if (!workshop) return std::nullopt;
  const struct stat status = sys::stat_fd(workshop->get());
  try {
    if (!sys::try_lock_exclusive(workshop->get())) return std::nullopt;
    is_locked = true;
  } catch (const Error& error) {
    log::debug("kinds", "{} cannot be locked: {}", name, error.reason());
    if (!is_new) return std::nullopt;
  }
  // Between open and lock its maker may have removed it.
  if (!leads_to(folder, name, status)) return std::nullopt;
  if (!sys::try_unlink_at(workshop->get(), std::string(kUnfinished)))
    sys::try_unlink_at(workshop->get(), std::string(kUnfinished), true);
  return workshop;
}

void discard_workshop(int folder, const std::string& name, int workshop) {
  if (!sys::try_unlink_at(workshop, std::string(kUnfinished)))
    sys::try_unlink_at(workshop, std::string(kUnfinished), true);
  if (!leads_to(folder, name, sys::stat_fd(workshop))) return;
  if (!sys::try_unlink_at(folder, name, true)) log::warning("kinds", "the folder {} could not be removed", name);
}

Stray remove_stray(int folder, const std::string& name, const std::string& held) {
  return remove_stray_at(folder, name, held, 0);
}

void remove_strays_beside(int folder, const std::string& prefix, const std::string& held,
                          const std::function<bool(const std::string&)>& is_own) {
  int code = 0;
  const auto readable = sys::probe_open_in(folder, ".", O_RDONLY | O_DIRECTORY, code);
  if (!readable) return;
  for (const std::string& entry : sys::list_directory_fd(readable->get()))
    if (entry.starts_with(prefix) && !is_own(entry)) remove_stray(folder, entry, held);
}

}  // namespace mcr::kinds
