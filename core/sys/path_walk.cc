#include "core/sys/path_walk.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/place.h"

namespace mcr::sys {
namespace {

constexpr int kMostLinks = 40;  // MAXSYMLINKS of the kernel

// From link to link: in between the kernel finds the way by itself.
class Walk {
 public:
  Walk(const std::string& path, int flags) : path_(path), flags_(flags) { push(path); }

  UniqueFd run() {
    const Step step("{}", path_);
    at_ = open("/", O_PATH | O_DIRECTORY);
    for (;;) {
      follow_next();
      int code = 0;
      if (auto fd = probe_open_in(at_.get(), rest(), flags_, code)) return std::move(*fd);
      if (code != ELOOP) throw_code(code, "open " + path_);
    }
  }

 private:
  void follow_next() {
    while (!rest_.empty()) {
      const std::string name = std::move(rest_.back());
      rest_.pop_back();
      if (!rest_.empty()) {
        int code = 0;
        if (auto folder = probe_open_in(at_.get(), name, O_PATH | O_DIRECTORY, code)) {
          at_ = std::move(*folder);
          continue;
        }
        if (code != ELOOP) throw_code(code, "open " + path_);
      } else if (flags_ & O_NOFOLLOW) {
        throw_code(ELOOP, "open " + path_);
      }
      const UniqueFd link = open_in(at_.get(), name, O_PATH | O_NOFOLLOW);
      const struct stat status = stat_fd(link.get());
      if (++links_ > kMostLinks || !S_ISLNK(status.st_mode)) throw_code(ELOOP, "open " + path_);
      return follow(name, read_link_at(link.get()), status.st_uid);
    }
  }

  std::string rest() const {
    std::string path;
    for (auto name = rest_.rbegin(); name != rest_.rend(); ++name) path += (path.empty() ? "" : "/") + *name;
    return path.empty() ? "." : path;
  }

  // The last one is on top.
  void push(std::string_view path) {
    std::vector<std::string> names;
    while (!path.empty()) {
      const std::string_view name = path.substr(0, path.find('/'));
      if (!name.empty() && name != ".") names.emplace_back(name);
      path.remove_prefix(std::min(path.size(), name.size() + 1));
    }
    rest_.insert(rest_.end(), names.rbegin(), names.rend());
  }

  void follow(const std::string& name, const std::string& text, uint32_t owner) {
    if (owner != 0 && owner != ::geteuid()) {
      const std::string folder = try_read_link(fmt::format("/proc/self/fd/{}", at_.get())).value_or("");
      throw Error(Fault::refused,
                  fmt::format("is reached through the symbolic link {}/{} of user {}, which was not there at the dump",
                              folder == "/" ? "" : folder, name, owner),
                  "look where it leads; if that is right, make the link your own (chown -h)", ELOOP);
    }
    if (text.starts_with('/')) at_ = open("/", O_PATH | O_DIRECTORY);
    push(text);
  }

  const std::string& path_;
  const int flags_;
  UniqueFd at_;
  std::vector<std::string> rest_;
  int links_ = 0;
};

}  // namespace

UniqueFd open_path(const std::string& path, int flags) {
  int code = 0;
  if (auto fd = probe_open_in(AT_FDCWD, path, flags, code)) return std::move(*fd);
  if (code != ELOOP) throw_code(code, "open " + path);
  return Walk(path, flags).run();
}

std::optional<UniqueFd> try_open_path(const std::string& path, int flags) {
  try {
    return open_path(path, flags);
  } catch (const Error& error) {
    if (error.code() == ENOENT || error.code() == ENOTDIR || error.code() == EACCES) return std::nullopt;
    throw;
  }
}

}  // namespace mcr::sys
