#include "tools/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <filesystem>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "core/sys/place.h"
#include "core/sys/process.h"

namespace mcr::cli {
namespace {

[[noreturn]] void refuse_existing() {
  throw Error(Fault::refused, "it exists already", "name another file, or give --force to write over it");
}

}  // namespace

OutputFile::OutputFile(const std::string& path, bool replaces) : path_(path), replaces_(replaces) {
  const Step step("{}", path);
  const auto there = sys::try_stat(path);
  if (there && !S_ISREG(there->st_mode)) throw Error(Fault::refused, "it is no plain file", "name another one");
  if (there && !replaces) refuse_existing();
  const std::filesystem::path whole(path);
  draft_ = (whole.parent_path() / fmt::format(".{}.{}", whole.filename().string(), sys::own_pid())).string();
  fd_ = sys::open(draft_, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
}

OutputFile::~OutputFile() {
  if (!published_) sys::try_unlink_at(AT_FDCWD, draft_);
}

void OutputFile::publish() {
  const Step step("{}", path_);
  if (replaces_)
    sys::rename_at(AT_FDCWD, draft_, AT_FDCWD, path_);
  else if (!sys::try_rename_to_free(AT_FDCWD, draft_, AT_FDCWD, path_))
    refuse_existing();
  published_ = true;
}

}  // namespace mcr::cli
