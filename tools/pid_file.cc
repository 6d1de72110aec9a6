#include "tools/pid_file.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::cli {
namespace {

UniqueFd create(const std::string& draft) {
  try {
    return sys::open(draft, O_WRONLY | O_CREAT | O_EXCL, 0644);
  } catch (const Error& error) {
    if (error.code() != static_cast<int>(std::errc::no_such_file_or_directory)) throw;
    throw Error(Fault::refused,
                fmt::format("there is no folder {}", std::filesystem::path(draft).parent_path().string()),
                "a name without / lies in the work folder (-W), or in that of the image (-D): see whether it is there");
  }
}

}  // namespace

PidFile::PidFile(const std::string& path) : path_(path), draft_(fmt::format("{}.{}", path, sys::own_pid())) {
  const Step step("pidfile {}", path);
  if (sys::try_stat(path, false))
    throw Error(Fault::refused, "it exists already", "remove it when the program it names has ended");
  fd_ = create(draft_);
}

PidFile::~PidFile() {
  if (!published_) sys::try_unlink_at(AT_FDCWD, draft_);
}

void PidFile::publish(HostPid pid) {
  const Step step("pidfile {}", path_);
  sys::write_text(fd_.get(), fmt::format("{}", pid));
  sys::rename_at(AT_FDCWD, draft_, AT_FDCWD, path_);
  published_ = true;
}

}  // namespace mcr::cli
