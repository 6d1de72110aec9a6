#include "core/jobs/checkpoints.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "core/base/error.h"
#include "core/jobs/job_file.h"
#include "core/sys/file.h"
#include "core/sys/file_copy.h"
#include "core/sys/place.h"
#include "images/store.h"

namespace mcr::jobs {
namespace {

constexpr char kGone[] = ".gone-";

std::optional<uint32_t> number_of(const std::string& name) {
  uint32_t number = 0;
  const auto [end, code] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (code != std::errc() || end != name.data() + name.size() || number == 0) return std::nullopt;
  return number;
}

uint64_t bytes_of(const std::string& folder) {
  uint64_t bytes = 0;
  std::error_code gone;  // removed while it is looked at
  std::filesystem::recursive_directory_iterator at(folder, gone), end;
  for (; !gone && at != end; at.increment(gone))
    if (const auto status = sys::try_stat(at->path(), false); status && S_ISREG(status->st_mode))
      bytes += static_cast<uint64_t>(status->st_size);
  return bytes;
}

// A folder elsewhere may have become another checkpoint's since.
bool leads_elsewhere(const std::string& folder, uint32_t number) {
  const auto status = sys::try_stat(folder, false);
  if (!status || !S_ISLNK(status->st_mode)) return false;
  job::Checkpoint details;
  return !try_read_message(folder + "/job.json", details) || details.number() != number;
}

void copy_file(const std::string& from, const std::string& to) {
  const UniqueFd source = sys::open(from, O_RDONLY | O_NOFOLLOW);
  const UniqueFd copy = sys::open(to, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  sys::copy_content(source.get(), copy.get());
  sys::sync_fd(copy.get());
}

// It comes from a file that another host has written.
void require_plain_name(const std::string& name) {
  if (name.empty() || name.find_first_not_of("0123456789") != std::string::npos)
    throw Error(Fault::image, fmt::format("job.json names a copy \"{}\"", name), "take the image from its host again");
}

std::optional<StoredCheckpoint> look_at(const std::string& folder, uint32_t number) {
  try {
    if (leads_elsewhere(folder, number)) return std::nullopt;
    const images::ImageReader image(folder);
    return StoredCheckpoint{number, folder, image.inventory().created_unix_ns() / 1'000'000, bytes_of(folder)};
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

std::string checkpoint_folder(const JobFolder& job, uint32_t number) {
  return fmt::format("{}/{:03}", job.checkpoints(), number);
}

std::vector<StoredCheckpoint> checkpoints_of(const JobFolder& job) {
  std::vector<StoredCheckpoint> found;
  for (const std::string& name : sys::try_list_directory(job.checkpoints()).value_or(std::vector<std::string>()))
    if (const auto number = number_of(name))
      if (auto stored = look_at(job.checkpoints() + "/" + name, *number)) found.push_back(*std::move(stored));
  std::ranges::sort(found, {}, &StoredCheckpoint::number);
  return found;
}

bool has_had_checkpoints(const JobFolder& job) {
  const auto names = sys::try_list_directory(job.checkpoints());
  if (!names) return true;  // nobody knows
  return std::ranges::any_of(*names, [&](const std::string& name) {
    const std::string folder = job.checkpoints() + "/" + name;
    const auto status = sys::try_stat(folder, false);
    return number_of(name) && status &&
           (S_ISLNK(status->st_mode) || sys::try_stat(folder + "/inventory.img") || sys::try_stat(folder + "/.commit"));
  });
}

std::optional<job::Checkpoint> details_of(const JobFolder& job, uint32_t number) {
  job::Checkpoint details;
  if (!try_read_message(checkpoint_folder(job, number) + "/job.json", details)) return std::nullopt;
  return details;
}

std::vector<uint32_t> superfluous(const std::vector<uint32_t>& numbers, uint32_t keep) {
  if (keep == 0 || numbers.size() <= keep) return {};
  std::vector<uint32_t> sorted = numbers;
  std::ranges::sort(sorted);
  return {sorted.begin(), sorted.end() - keep};
}

std::string begin_checkpoint(const JobFolder& job, uint32_t number, const std::string& elsewhere) {
  const std::string folder = checkpoint_folder(job, number);
  if (elsewhere.empty()) {
    if (!sys::try_make_directory(folder, 0700))
      throw Error(Fault::system, fmt::format("{} exists already", folder), "remove it");
    return folder;
  }
  sys::try_make_directory(elsewhere, 0700);
  sys::make_node_at(AT_FDCWD, folder, S_IFLNK, 0, elsewhere);
  return elsewhere;
}

void take_in_checkpoint(const JobFolder& job, const std::string& image, job::Checkpoint details) {
  const std::string folder = begin_checkpoint(job, details.number());
  for (const std::string& name : sys::list_directory(image)) {
    const auto status = sys::try_stat(image + "/" + name, false);
    if (status && S_ISREG(status->st_mode)) copy_file(image + "/" + name, folder + "/" + name);
  }
  for (const job::SavedFile& file : details.files()) {
    require_plain_name(file.copy());
    sys::try_make_directory(folder + "/files", 0700);
    copy_file(image + "/files/" + file.copy(), folder + "/files/" + file.copy());
  }
  details.set_output_bytes(0);  // the log begins anew here
  write_message(folder + "/job.json", details);
  sync_folder(folder);
}

void remove_checkpoint(const JobFolder& job, uint32_t number) {
  const std::string gone = fmt::format("{}/{}{:03}", job.checkpoints(), kGone, number);
  sys::rename_at(AT_FDCWD, checkpoint_folder(job, number), AT_FDCWD, gone);
  std::error_code left;  // it is no image any more; what is left goes with the next one
  std::filesystem::remove_all(gone, left);
}

void remove_remains(const JobFolder& job) {
  for (const std::string& name : sys::try_list_directory(job.checkpoints()).value_or(std::vector<std::string>())) {
    const std::string folder = job.checkpoints() + "/" + name;
    const bool is_remains = name.starts_with(kGone);
    // A commit that was begun is finished by the next reader (images/commit.h).
    const bool is_torn =
        number_of(name) && !sys::try_stat(folder + "/inventory.img") && !sys::try_stat(folder + "/.commit");
    std::error_code left;
    if (is_remains || is_torn) std::filesystem::remove_all(folder, left);
  }
}

}  // namespace mcr::jobs
