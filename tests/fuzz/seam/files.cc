// Stand-ins for core/sys/file.h and descriptor.h.
#include <fcntl.h>

#include <cerrno>
#include <charconv>

#include "core/sys/descriptor.h"
#include "core/sys/failure.h"
#include "core/sys/features.h"
#include "core/sys/file.h"
#include "core/sys/path_walk.h"
#include "core/sys/place.h"
#include "tests/fuzz/seam/world.h"

namespace mcr::sys {
namespace {

using fuzz::Node;
using fuzz::require;
using fuzz::World;

void check_path(const std::string& path) {
  require(path.find('\0') == std::string::npos, "a path with a zero byte inside is used");
  require(!path.empty() && path.front() == '/', "a path that is not absolute is used");
}

// The number in /proc/self/fd/N; -1 for any other path.
int own_descriptor(const std::string& path) {
  constexpr std::string_view kPrefix = "/proc/self/fd/";
  if (!path.starts_with(kPrefix)) return -1;
  int number = -1;
  const auto [end, code] = std::from_chars(path.data() + kPrefix.size(), path.data() + path.size(), number);
  return code == std::errc() && end == path.data() + path.size() ? number : -1;
}

UniqueFd reopen(int number, int flags) {
  const std::string door = fmt::format("/proc/self/fd/{}", number);
  UniqueFd fd(::open(door.c_str(), (flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_TMPFILE | O_NOFOLLOW)) | O_CLOEXEC));
  if (!fd.valid()) throw_code(errno, "open " + door);
  if (const Node* node = World::get().node_of(number)) World::get().remember(fd.get(), *node);
  return fd;
}

UniqueFd memory_file() {
  const Node node{S_IFREG | 0600, 0, 0};
  UniqueFd fd = make_memfd("file");
  World::get().remember(fd.get(), node);
  return fd;
}

// What the real machine says about itself; read once, before effects are forbidden, so that runs are alike.
std::optional<std::string> own_text(const std::string& path) {
  static const std::map<std::string, std::string> texts = [] {
    std::map<std::string, std::string> all;
    for (const char* name : {"/proc/cpuinfo", "/proc/self/status", "/proc/self/maps", "/proc/self/limits"}) {
      const UniqueFd fd(::open(name, O_RDONLY | O_CLOEXEC));
      std::string text(1 << 20, '\0');
      size_t used = 0;
      for (ssize_t n; used < text.size() && (n = ::read(fd.get(), text.data() + used, text.size() - used)) > 0;)
        used += static_cast<size_t>(n);
      text.resize(used);
      all[name] = text;
    }
    return all;
  }();
  if (const std::string& answers = World::get().answers; !answers.empty() && path.starts_with("/proc/"))
    return answers.substr(4);  // of the program that is dumped
  const auto found = texts.find(path);
  if (found == texts.end()) return std::nullopt;
  return found->second;
}

// By which path a folder was opened.
std::string path_at(int dir, const std::string& name) {
  if (dir == AT_FDCWD || name.starts_with("/")) return name;
  const auto found = World::get().folders.find(dir);
  require(found != World::get().folders.end(), "a name is looked up in what is no folder");
  const std::string& folder = found->second;
  return name == "." ? folder : (folder == "/" ? folder : folder + "/") + name;
}

std::string without_end(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

// A name that the engine has given, or a file that it has open and has made.
void require_ours(const std::string& path) {
  if (const size_t slash = path.rfind('/'); path.starts_with("/proc/self/fd/") && own_descriptor(path) < 0)
    return require_ours(path_at(own_descriptor(path.substr(0, slash)), path.substr(slash + 1)));
  require(own_descriptor(path) >= 0 || World::get().linked.contains(path), "a file that is not ours is changed");
}

}  // namespace

UniqueFd open(const std::string& path, int flags, mode_t) {
  World& world = World::get();
  if (const auto image = world.images.find(path); image != world.images.end()) {
    UniqueFd fd(::open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    world.image_folders[fd.get()] = &image->second;
    return fd;
  }
  check_path(path);
  if (const int number = own_descriptor(path); number >= 0) return reopen(number, flags);
  if (world.process && path == fmt::format("/proc/{}/mem", world.process->pid))
    return UniqueFd(::fcntl(world.process->memory.get(), F_DUPFD_CLOEXEC, 0));
  if ((flags & O_TMPFILE) == O_TMPFILE) return memory_file();
  require(!(flags & O_TRUNC), "a file is truncated");
  require(!(flags & O_CREAT) || (flags & O_EXCL), "a file is made or overwritten");
  const std::string name = without_end(path);
  if (const auto linked = world.linked.find(name); linked != world.linked.end()) {
    UniqueFd fd = reopen(linked->second.get(), flags);
    if (const Node* node = world.node_of(fd.get()); node && S_ISDIR(node->mode)) world.folders[fd.get()] = name;
    return fd;
  }
  if (flags & O_CREAT) {
    if (world.nodes.contains(path)) throw_code(EEXIST, "open " + path);
    UniqueFd fd = memory_file();
    world.linked[path] = UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
    return fd;
  }
  UniqueFd fd = world.open_node(name, flags);
  if (S_ISDIR(world.nodes.at(name).mode)) world.folders[fd.get()] = name;
  return fd;
}

UniqueFd open_at(int dir, const std::string& path, int flags, mode_t mode) {
  if (dir == AT_FDCWD || path.starts_with("/") || World::get().folders.contains(dir))
    return open(path_at(dir, path), flags, mode);
  auto fd = try_open_at(dir, path, flags, mode);
  if (!fd) throw_code(ENOENT, "open " + path);
  return std::move(*fd);
}

// The only folder that is read by names is the image's.
std::optional<UniqueFd> try_open_at(int dir, const std::string& path, int flags, mode_t) {
  World& world = World::get();
  require(world.image_folders.contains(dir), "a file outside of the image is opened as if it were inside");
  const World::Image& image = *world.image_folders.at(dir);
  require(path.find('/') == std::string::npos && path.find('\0') == std::string::npos && path != "..",
          "a name leads out of the image");
  require(!(flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR)), "an image is written to");
  const auto found = image.find(path);
  if (found == image.end()) return std::nullopt;
  UniqueFd fd(::fcntl(found->second.get(), F_DUPFD_CLOEXEC, 0));
  world.forget_descriptor(fd.get());
  return fd;
}

std::optional<UniqueFd> probe_open(const std::string& path, int flags, int& code, mode_t mode) {
  try {
    return open(path, flags, mode);
  } catch (const Error& error) {
    code = error.code();
    return std::nullopt;
  }
}

std::string read_text(const std::string& path) {
  auto text = own_text(path);
  if (!text) throw_code(ENOENT, "open " + path);
  return *text;
}
std::optional<std::string> try_read_text(const std::string& path) {
  return own_text(path);
}

void write_file(const std::string& path, std::string_view) {
  require(path.starts_with("/proc/"), "a file is overwritten");
  World::get().made(std::atoi(path.c_str() + 6));
}

struct stat stat_fd(int fd) {
  struct stat status {};
  check(::fstat(fd, &status), "fstat");
  if (const Node* node = World::get().node_of(fd)) {
    status.st_mode = node->mode;
    status.st_rdev = node->device;
    status.st_uid = status.st_gid = 0;
  }
  return status;
}

std::optional<struct stat> try_stat(const std::string& path, bool) {
  require(path.find('\0') == std::string::npos, "a path with a zero byte inside is used");
  World& world = World::get();
  std::string name = path;
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  struct stat status {};
  if (const auto linked = world.linked.find(name); linked != world.linked.end()) {
    return stat_fd(linked->second.get());
  }
  const auto found = world.nodes.find(name);
  if (found == world.nodes.end()) return std::nullopt;
  status.st_mode = found->second.mode;
  status.st_size = static_cast<off_t>(found->second.size);
  status.st_rdev = found->second.device;
  return status;
}

std::optional<std::string> try_read_link(const std::string&) {
  return std::nullopt;
}
std::vector<std::string> list_directory(const std::string&) {
  return {};
}
std::vector<std::string> list_directory_fd(int) {
  return {};
}
std::optional<struct stat> try_stat_at(int dir, const std::string& name, bool follow) {
  return try_stat(path_at(dir, name), follow);
}

// ---- place.h, path_walk.h ----

std::optional<UniqueFd> probe_open_in(int dir, const std::string& path, int flags, int& code) {
  return probe_open(path_at(dir, path), flags, code, 0);
}
UniqueFd open_in(int dir, const std::string& path, int flags) {
  return open(path_at(dir, path), flags, 0);
}
UniqueFd open_path(const std::string& path, int flags) {
  return open(path, flags, 0);
}
std::optional<UniqueFd> try_open_path(const std::string& path, int flags) {
  int code = 0;
  return probe_open(path, flags, code, 0);
}

// Only folders and nodes that are away again at the end, as they are among the names that the engine has given.
void make_node_at(int dir, const std::string& name, mode_t mode, dev_t device, const std::string&) {
  const std::string path = path_at(dir, name);
  check_path(path);
  World& world = World::get();
  if (world.nodes.contains(path) || world.linked.contains(path)) throw_code(EEXIST, "mknod " + path);
  UniqueFd fd = make_memfd("node");
  world.remember(fd.get(), {mode, 0, device});
  world.linked[path] = std::move(fd);
}
bool try_make_directory_at(int dir, const std::string& name, mode_t mode) {
  const std::string path = path_at(dir, name);
  if (World::get().nodes.contains(path) || World::get().linked.contains(path)) return false;
  make_node_at(dir, name, S_IFDIR | mode, 0, {});
  return true;
}
void make_directory_at(int dir, const std::string& name, mode_t mode) {
  make_node_at(dir, name, S_IFDIR | mode, 0, {});
}
bool try_make_directory(const std::string& path, mode_t mode) {
  make_directory_at(AT_FDCWD, path, mode);
  return true;
}
void rename_at(int, const std::string& from, int, const std::string&) {
  require(World::get().linked.contains(from), "a file that is not ours is renamed");
}
bool try_rename_to_free(int from_dir, const std::string& from, int to_dir, const std::string& to) {
  World& world = World::get();
  const std::string path = path_at(to_dir, to);
  require(world.linked.contains(path_at(from_dir, from)), "a file that is not ours is renamed");
  check_path(path);
  if (world.nodes.contains(path) || world.linked.contains(path)) return false;
  auto moved = world.linked.extract(path_at(from_dir, from));
  moved.key() = path;
  world.linked.insert(std::move(moved));
  for (auto& [fd, folder] : world.folders)
    if (folder == path_at(from_dir, from)) folder = path;
  return true;
}
bool try_link_through(const std::string& door, int dir, const std::string& name) {
  require_ours(door);
  const std::string path = path_at(dir, name);
  check_path(path);
  World& world = World::get();
  if (world.nodes.contains(path) || world.linked.contains(path)) return false;
  UniqueFd& linked = world.linked[path];
  linked = UniqueFd(::fcntl(own_descriptor(door), F_DUPFD_CLOEXEC, 0));
  if (const Node* node = world.node_of(own_descriptor(door))) world.remember(linked.get(), *node);
  return true;
}
void set_ownership_at(int dir, const std::string& name, uint32_t, uint32_t) {
  require_ours(path_at(dir, name));
}
bool try_mark_at(int dir, const std::string& name, const char*, const std::string&) {
  require_ours(path_at(dir, name));
  return true;
}
bool try_mark(int, const char*, const std::string&) {
  return true;
}
std::optional<std::string> mark_at(int, const std::string& name, const char*) {
  require(name.find('\0') == std::string::npos, "a path with a zero byte inside is used");
  return std::nullopt;
}

void unlink_at(int dir, const std::string& name, bool) {
  require(World::get().linked.erase(path_at(dir, name)) == 1, "a file that is not ours is removed");
}
bool try_unlink_at(int dir, const std::string& name, bool is_directory) {
  if (!try_stat_at(dir, name, false)) return false;
  unlink_at(dir, name, is_directory);
  return true;
}

// Flags that have an effect on nobody but the file itself.
void set_status_flags(int fd, int flags) {
  check(::fcntl(fd, F_SETFL, flags & (O_NONBLOCK | O_APPEND)), "fcntl(F_SETFL)");
}
void set_pipe_size(int fd, int size) {
  require(size > 0, "a pipe is given an impossible size");
  if (size > 1 << 20) throw_code(EPERM, "fcntl(F_SETPIPE_SZ)");
  check(::fcntl(fd, F_SETPIPE_SZ, size), "fcntl(F_SETPIPE_SZ)");
}
bool is_terminal(int) {
  return true;
}

void set_owner_signal(int, int signal) {
  if (signal < 0 || signal > 64) throw_code(EINVAL, "fcntl(F_SETSIG)");
}
void set_ownership(int fd, uint32_t, uint32_t) {
  require(!S_ISDIR(stat_fd(fd).st_mode), "a folder is given away");
}
void set_mode(int fd, uint32_t) {
  require(!S_ISDIR(stat_fd(fd).st_mode), "the mode of a folder is changed");
}
void set_modification_time(int fd, int64_t) {
  require(!S_ISDIR(stat_fd(fd).st_mode), "the time of a folder is changed");
}
void try_remove_attribute(const std::string& path, const char*) {
  require_ours(path);
}
void set_modification_time_of(const std::string& path, int64_t) {
  require_ours(path);
}
void set_mode_of(const std::string& path, uint32_t) {
  require_ours(path);
}
void set_write_hint(int, uint64_t) {}
std::optional<pid_t> find_lock(int, const LockRange&) {
  return std::nullopt;
}
std::optional<UniqueFd> open_handle(int, const FileHandle&, int) {
  return std::nullopt;
}
void link_through(const std::string& door, const std::string& path) {
  require(try_link_through(door, AT_FDCWD, path), "a name is given twice");
}

const Feature& KernelFeatures::get(std::string_view name) {
  Feature& feature = known_[std::string(name)];
  feature.name = name;
  feature.available = true;
  return feature;
}

}  // namespace mcr::sys
