// Terminals whose other end is outside of the tree, with --shell-job: not saved, but replaced by the terminal that
// `restore` runs on. Slaves of the tree's own pseudo-terminals are pty.cc's.
#include <fcntl.h>
#include <sys/sysmacros.h>

#include "core/kinds/external.h"
#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/sys/file.h"

namespace mcr::kinds {
namespace {

class TerminalKind : public Kind {
 public:
  const char* name() const override { return "terminal"; }

  bool claims(const FileView& file) const override {
    if (!S_ISCHR(file.status.st_mode)) return false;
    const unsigned number = major(file.status.st_rdev);
    // 2 and 3: the ends of BSD pseudo-terminals; 4: virtual consoles and serial lines; 136 to 143: slaves.
    return (number >= 136 && number <= 143) || (number >= 2 && number <= 4) ||
           (number == 5 && minor(file.status.st_rdev) <= 1);
  }

  void look(const FileView& file, const OpenFiles& table) const override {
    if (table.ptys().has(file)) return pty_kind()->look(file, table);
    if (table.policy().shell_job) return;
    const std::string holder = table.holder_of_terminal(file.link, file.status, {}).value_or("");
    throw Error(Fault::refused,
                fmt::format("{} is {}{}", file.link, describe(file.status.st_rdev),
                            holder.empty() ? "" : fmt::format(", which {} has open too", holder)),
                "give --shell-job to have it replaced by the terminal of `restore`" + external_remedy(file));
  }

  void dump(const FileView& file, OpenFiles& table, image::FileObject& object) const override {
    if (table.ptys().has(file)) {
      object.set_kind(pty_kind()->name());
      return pty_kind()->dump(file, table, object);
    }
    image::Terminal message;
    message.set_path(file.link);
    object.mutable_body()->PackFrom(message);
  }

  void check(const image::FileObject&, const OpenedFiles& table, std::vector<Problem>& problems) const override {
    if (!table.policy().shell_job)
      problems.push_back({"terminal", "the program had the terminal of its shell", "give --shell-job"});
    else if (!table.terminal_path())
      problems.push_back({"terminal", "restore is not running on a terminal", "run it from a terminal"});
  }

  UniqueFd restore(const image::FileObject& object, OpenedFiles& table) const override {
    const auto path = table.terminal_path();
    if (!path) throw Error(Fault::refused, "restore is not running on a terminal");
    // A session gets its terminal by TIOCSCTTY only, not by an open.
    UniqueFd fd =
        sys::open(*path, static_cast<int>(object.flags() & (O_ACCMODE | O_LARGEFILE | O_NOFOLLOW)) | O_NOCTTY);
    sys::set_status_flags(fd.get(), static_cast<int>(object.flags()));
    return fd;
  }

 private:
  static const char* describe(dev_t device) {
    switch (major(device)) {
      case 2:
      case 3:
        return "an end of a BSD pseudo-terminal, of which the kernel tells nothing";
      case 4:
        return minor(device) < 64 ? "a virtual console" : "a serial line";
      default:
        return "a terminal outside of the tree";
    }
  }
};

}  // namespace

const Kind* terminal_kind() {
  static const TerminalKind kind;
  return &kind;
}

}  // namespace mcr::kinds
