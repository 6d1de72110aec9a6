// Files about the program itself (/proc/self, /proc/PID/..., /proc/PID/task/TID/...) and about other processes of the
// tree: opened again by the new process, once all have their threads and descriptors. The engine sends it the folder
// /proc to open them below.
#include <fcntl.h>

#include <charconv>

#include "core/kinds/file_names.h"
#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/sys/file.h"
#include "core/trace/frozen_tree.h"

namespace mcr::kinds {
namespace {

constexpr uint32_t kLateFlags =
    O_ACCMODE | O_APPEND | O_NONBLOCK | O_DSYNC | O_SYNC | O_LARGEFILE | O_NOATIME | O_NOFOLLOW | O_PATH | O_DIRECTORY;

constexpr size_t kLongest = 255;

// No way out of the folder.
bool is_below(const std::string& path) {
  if (path.empty() || path.front() == '/' || path.find('\0') != std::string::npos) return path.empty();
  if (path.size() > kLongest) return false;
  const std::string framed = "/" + path + "/";
  return framed.find("/../") == std::string::npos;
}

image::ProcFile read_body(const image::FileObject& object) {
  image::ProcFile message;
  if (!object.body().UnpackTo(&message)) throw Error(Fault::image, "its record is unreadable");
  if (message.pid() <= 0 || !is_below(message.path())) throw Error(Fault::image, "its path is none below /proc/PID");
  return message;
}

// A thread has a folder of its own number too, which no listing of /proc shows.
std::string describe_stranger(pid_t pid) {
  const auto text = sys::try_read_text(fmt::format("/proc/{}/status", pid));
  const bool is_thread = text && procfs::parse_status(*text).tgid != pid;
  return is_thread ? "a thread, by its own number" : "a process outside of the tree";
}

class ProcessFileKind : public Kind {
 public:
  const char* name() const override { return "process_file"; }

  // Process 1 is always there, and never in the tree: its files are found by their path.
  bool claims(const FileView& file) const override { return process_in(file.link).value_or(1) != 1; }

  void look(const FileView& file, const OpenFiles& table) const override {
    const pid_t pid = *process_in(file.link);
    if (!table.is_leader(HostPid(pid)))
      throw Error(Fault::refused, fmt::format("{} is about {}", file.link, describe_stranger(pid)),
                  "its number may belong to a stranger later: let the program close it before the dump");
    if (file.fd < 0)
      throw Error(Fault::refused, fmt::format("{} is about the program itself", file.link),
                  "as a working directory it cannot be saved yet");
    if (file.name_gone || !sys::try_stat(file.link, false))
      throw Error(Fault::refused, fmt::format("{} is about something that has ended", file.link),
                  "let the program close it before the dump");
  }

  void dump(const FileView& file, OpenFiles&, image::FileObject& object) const override {
    const pid_t pid = *process_in(file.link);
    const std::string folder = fmt::format("/proc/{}", pid);
    image::ProcFile message;
    message.set_pid(trace::number_inside(HostTid(pid)));
    if (file.link.size() > folder.size())
      message.set_path(renumber_thread(file.link.substr(folder.size() + 1),
                                       [](pid_t tid) { return trace::number_inside(HostTid(tid)); }));
    message.set_mode(file.status.st_mode);
    object.mutable_body()->PackFrom(message);
  }

  void check(const image::FileObject& object, const OpenedFiles& table, std::vector<Problem>& problems) const override {
    const std::string name = fmt::format("file about the program (object {})", object.id());
    try {
      if (!table.has_process(read_body(object).pid()))
        problems.push_back({name, "is about no process of this image", {}});
    } catch (const Error& e) {
      problems.push_back({name, e.what(), {}});
    }
  }

  UniqueFd restore(const image::FileObject&, OpenedFiles&) const override {
    return sys::open("/proc", O_PATH | O_DIRECTORY);
  }

  std::optional<LateOpen> late(const image::FileObject& object) const override {
    const image::ProcFile message = read_body(object);
    return LateOpen{message.pid(), message.path().empty() ? "." : message.path(), object.flags() & kLateFlags};
  }
};

}  // namespace

std::string renumber_thread(const std::string& path, const std::function<pid_t(pid_t)>& number) {
  constexpr std::string_view kFolder = "task/";
  pid_t tid = 0;
  if (!path.starts_with(kFolder)) return path;
  const char* end = path.data() + path.size();
  const auto [after, code] = std::from_chars(path.data() + kFolder.size(), end, tid);
  if (code != std::errc() || (after != end && *after != '/')) return path;
  return fmt::format("{}{}{}", kFolder, number(tid), std::string(after, end));
}

const Kind* process_file_kind() {
  static const ProcessFileKind kind;
  return &kind;
}

}  // namespace mcr::kinds
