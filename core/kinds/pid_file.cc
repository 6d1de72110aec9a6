// pidfd_open(2): of processes of the tree, and of such that have ended and were waited for.
#include <fcntl.h>

#include "core/base/bounds.h"
#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/procfs/event_files.h"
#include "core/sys/ended_process.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::kinds {
namespace {

constexpr uint32_t kThread = O_EXCL;  // PIDFD_THREAD, 6.9

class PidFileKind : public Kind {
 public:
  const char* name() const override { return "pid_file"; }
  // "pidfd:[inode]" in 6.9 and 6.10.
  bool claims(const FileView& file) const override {
    return file.link == "anon_inode:[pidfd]" || file.link.starts_with("pidfd:[");
  }

  void look(const FileView& file, const OpenFiles& table) const override {
    const pid_t pid = procfs::pid_file_of(file.info).pid;
    if (pid == -1 || table.has_member(HostPid(pid))) return;
    const auto text = pid > 0 ? sys::try_read_text(fmt::format("/proc/{}/status", pid)) : std::nullopt;
    if (!text) throw Error(Fault::refused, "it is about a process that cannot be seen", "dump that process too");
    const auto status = procfs::parse_status(*text);
    if (status.tgid != pid && table.has_member(HostPid(status.tgid)))  // before its parent, which is its process's
      throw Error(Fault::refused, fmt::format("it is about the thread {} {} (PIDFD_THREAD)", pid, status.name),
                  "only those of whole processes can be saved yet: let the program close it before the dump");
    if (table.has_member(HostPid(status.ppid))) return;  // a zombie, or born just now
    throw Error(Fault::refused, fmt::format("it is about process {} ({}) outside of the tree", pid, status.name),
                "dump the common parent, or let the program close it before the dump");
  }

  void dump(const FileView& file, OpenFiles&, image::FileObject& object) const override {
    image::PidFile message;
    const auto about = procfs::pid_file_of(file.info);
    if (about.pid > 0)
      message.set_pid(about.own_pid);
    else
      message.set_exit_status(sys::exit_status_of(file.copy).value_or(0));
    object.mutable_body()->PackFrom(message);
  }

  void require_valid(const image::FileObject& object) const override {
    const auto message = body_of<image::PidFile>(object);
    if (message.pid() != 0 && !bounds::is_pid(message.pid()))
      throw Error(Fault::image, fmt::format("pid cannot be {}", message.pid()));
    if (message.exit_status() < 0 || message.exit_status() > 0xffff)
      throw Error(Fault::image, fmt::format("exit_status cannot be {}", message.exit_status()));
  }

  void check(const image::FileObject& object, const OpenedFiles& table, std::vector<Problem>&) const override {
    const auto message = body_of<image::PidFile>(object);
    if (message.pid() != 0 && !table.has_process(message.pid()))
      throw Error(Fault::image, fmt::format("files.img: object {} pid_file: process {} is not in the image",
                                            object.id(), message.pid()));
  }

  // All processes are there, those that have ended too.
  UniqueFd restore(const image::FileObject& object, OpenedFiles& table) const override {
    const auto message = body_of<image::PidFile>(object);
    const bool is_of_thread = (object.flags() & kThread) != 0;
    UniqueFd fd = message.pid() == 0 ? sys::make_ended_pidfd(message.exit_status(), object.flags() & kThread)
                  : is_of_thread     ? sys::open_thread_pidfd(HostTid(table.host_pid(message.pid()).get()))
                                     : sys::open_pidfd(table.host_pid(message.pid()));
    sys::set_status_flags(fd.get(), static_cast<int>(object.flags()));
    return fd;
  }
};

}  // namespace

const Kind* pid_file_kind() {
  static const PidFileKind kind;
  return &kind;
}

}  // namespace mcr::kinds
