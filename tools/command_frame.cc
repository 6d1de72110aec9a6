// What dump and restore do alike before and after the engine's part, and where show and verify look.
#include <fcntl.h>
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <system_error>

#include "core/base/log.h"
#include "core/sys/file.h"
#include "tools/commands.h"
#include "tools/standard_streams.h"

namespace mcr::cli {

namespace {

// For our user alone: it names files and addresses of the program. A link is followed in /dev only (/dev/stderr): a
// link in a folder that others can write to would have us overwrite what they choose.
UniqueFd open_log_file(const std::string& path) {
  const int follow = path.starts_with("/dev/") ? 0 : O_NOFOLLOW;
  try {
    return sys::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOCTTY | follow, 0600);
  } catch (const Error& error) {
    if (error.code() == static_cast<int>(std::errc::too_many_symbolic_link_levels))
      usage(fmt::format("log file {} is a symbolic link, which is not followed", path), "give another file with -o");
    usage(fmt::format("log file {} cannot be written: {}", path, error.reason()), "give another file with -o");
  }
}

}  // namespace

void open_log(const Surroundings& around, bool makes_folder, Situation& situation) {
  situation.json = around.json;
  const bool in_image_folder = around.work_dir == around.images_dir && !is_stream(around);
  if (makes_folder && in_image_folder && !around.log.file.empty()) sys::try_make_directory(around.images_dir, 0700);
  const auto folder = sys::try_stat(around.work_dir);
  if (!in_image_folder && !(folder && S_ISDIR(folder->st_mode)))
    usage(fmt::format("the work folder {} does not exist", around.work_dir), "make it, or give another one with -W");
  // The log's sink would make missing folders by itself, and a slip in a name would go unseen.
  const std::string log_folder = std::filesystem::path(around.log.file).parent_path();
  if (!around.log.file.empty() && !log_folder.empty() && !sys::try_stat(log_folder))
    usage(fmt::format("the folder of the log file {} does not exist", around.log.file), "check -D, -W and -o");
  log::Settings log = around.log;
  if (!log.file.empty()) log.descriptor = open_log_file(log.file).release();
  log::start(log);
  situation.logging = true;
  situation.log_in_file = !around.log.file.empty();
}

void check_status_descriptor(int fd) {
  if (fd < 0) return;
  try {
    sys::get_status_flags(fd);
  } catch (const Error&) {
    usage(fmt::format("--status-fd: descriptor {} is not open", fd), "give the number of an inherited descriptor");
  }
}

void tell_status_descriptor(int fd) {
  if (fd < 0) return;
  const UniqueFd owned(fd);
  sys::write_fully(owned.get(), "", 1);
}

void print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

void say(const std::string& text) {
  std::fputs(text.c_str(), stderr);
}

images::ImagePlace image_place(const std::string& operand) {
  if (operand == kStream) return receive_image();
  return operand;
}

std::string image_operand(const CommandLine& line) {
  if (line.operands.size() > 1)
    usage(fmt::format("{} takes one operand, but was given {}", line.command->name, line.operands.size()));
  if (!line.operands.empty()) return line.operands.front();
  return line.settings.value("images-dir").value_or(".");
}

}  // namespace mcr::cli
