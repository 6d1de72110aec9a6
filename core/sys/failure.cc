#include "core/sys/failure.h"

#include <cstring>

namespace mcr::sys {

std::string code_name(int code) {
  const char* name = strerrorname_np(code);
  return fmt::format("{} ({})", name ? name : std::to_string(code),
                     strerrordesc_np(code) ? strerrordesc_np(code) : "?");
}

std::string remedy_for(int code) {
  switch (code) {
    case EPERM:
      return "run as root, or as the owner with CAP_CHECKPOINT_RESTORE and CAP_SYS_PTRACE";
    case EACCES:
      return "check the permissions of the path, or run as root";
    case ENOSPC:
      return "free space on the file system, or give another folder with -D";
    case EDQUOT:
      return "free some of the disk quota, or give another folder with -D";
    case EROFS:
      return "the file system is read-only: give another folder";
    case ENOMEM:
      return "free memory, or raise the limit of the control group";
    case EMFILE:
      return "raise the limit of open files (ulimit -n)";
    case ENFILE:
      return "the system-wide limit of open files is reached (fs.file-max)";
    default:
      return {};
  }
}

void throw_code(int code, const std::string& what, std::source_location where) {
  throw Error(Fault::system, fmt::format("{}: {}", what, code_name(code)), remedy_for(code), code, where);
}

void throw_errno(const std::string& what, std::source_location where) {
  throw_code(errno, what, where);
}

}  // namespace mcr::sys
