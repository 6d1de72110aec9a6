// A kind of open file: recognising it, dumping it and restoring it stand next to each other in one file.
//
// What all kinds share (flags, offset, owner, duplicates, close-on-exec) is done once, by OpenFiles and OpenedFiles.
// Called by the engine's main thread while the tree is stopped (dump) or not yet running (restore).
#pragma once

#include <sys/stat.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/ids.h"
#include "core/base/unique_fd.h"
#include "core/procfs/status.h"
#include "core/sys/descriptor.h"
#include "images/proto/files.pb.h"

namespace mcr::kinds {

class OpenFiles;
class OpenedFiles;

// One open file of a program, looked at from outside.
struct FileView {
  HostPid pid;
  int fd = -1;       // number in the program; -1: not a descriptor (a mapping, the cwd)
  std::string door;  // path under /proc that leads to the very file: /proc/PID/fd/N, .../map_files/A-B
  std::string link;  // what the door's link says, without the kernel's " (deleted)"
  struct stat status {};
  bool deleted = false;     // it has no name left
  bool name_gone = false;   // the name in `link` is no longer its name; it may have others
  bool is_reached = false;  // a descriptor: when it was looked at, the name led to the file
  procfs::FdInfo info;      // zero for what is no descriptor
  struct Asked {            // of the open file
    sys::FileOwner owner;
    uint64_t write_hint = 0;
  };
  std::optional<Asked> asked;  // a regular file of a process that stands still
  int copy = -1;               // descriptor of the same open file in the engine (pidfd_getfd); -1 while only looking
};

struct LateOpen {
  pid_t pid = 0;     // the process below whose folder of /proc it lies, by its number in the image
  std::string path;  // relative to that folder; "." is the folder itself
  uint64_t flags = 0;
};

class Kind {
 public:
  virtual ~Kind() = default;
  virtual const char* name() const = 0;
  virtual bool claims(const FileView& file) const = 0;
  // Throws Fault::refused when this one cannot be kept. Touches nothing; also called before the freeze.
  virtual void look(const FileView& file, const OpenFiles& table) const = 0;
  virtual void dump(const FileView& file, OpenFiles& table, mcr::image::FileObject& object) const = 0;
  // Dump: all descriptors of the tree have got their ids, nothing runs yet. For what refers to other open files.
  virtual void connect(const FileView&, const OpenFiles&, mcr::image::FileObject&) const {}
  // Restore, before everything else: throws Fault::image when the message is its own and holds what no kernel could
  // have had.
  virtual void require_valid(const mcr::image::FileObject&) const {}
  // What is wrong with this host for it; appended, nothing is thrown or created.
  virtual void check(const mcr::image::FileObject& object, const OpenedFiles& table,
                     std::vector<Problem>& problems) const = 0;
  virtual UniqueFd restore(const mcr::image::FileObject& object, OpenedFiles& table) const = 0;
  // For what can only be opened by a new process, when all have their threads: restore() then returns the folder /proc,
  // below which the process opens it.
  virtual std::optional<LateOpen> late(const mcr::image::FileObject&) const { return std::nullopt; }
  // Restore: all objects are there, their descriptors in place in every process.
  virtual void connect(const mcr::image::FileObject&, int /*fd*/, OpenedFiles&) const {}
  // Restore, last of all: the tree is complete and stands still. `fd`: what restore() returned. Here begins what goes
  // on by itself.
  virtual void start(const mcr::image::FileObject&, int /*fd*/, OpenedFiles&) const {}
};

// Of a path below /proc/PID: "task/TID/..." with another number.
std::string renumber_thread(const std::string& path, const std::function<pid_t(pid_t)>& number);

// What the object holds besides what all kinds share; throws Fault::image when it is another's, or damaged.
template <typename Message>
Message body_of(const mcr::image::FileObject& object) {
  Message message;
  if (!object.body().UnpackTo(&message)) throw Error(Fault::image, "its record is unreadable");
  return message;
}

const std::vector<const Kind*>& all_kinds();
const Kind* kind_of(const FileView& file);        // nullptr: none claims it
const Kind* kind_named(const std::string& name);  // nullptr: unknown
// For a file that no kind claims: "a socket of AF_VSOCK", "an object of kind [userfaultfd]", ...
std::string describe_unclaimed(const FileView& file);

}  // namespace mcr::kinds
