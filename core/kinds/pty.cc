// Ends of pseudo-terminals whose master the tree has: masters, slaves, and /dev/tty when it leads to one. Slaves that
// were hung up, too: they have no terminal any more.
#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "core/base/bounds.h"
#include "core/kinds/external.h"
#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/kinds/ptys.h"
#include "core/sys/file.h"

namespace mcr::kinds {
namespace {

class PtyKind : public Kind {
 public:
  const char* name() const override { return "pty"; }
  // Slaves are claimed by terminal.cc, which knows only later whose they are.
  bool claims(const FileView& file) const override { return is_pty_master(file); }

  void look(const FileView& file, const OpenFiles& table) const override {
    if (!is_pty_master(file)) return;
    if (!table.ptys().has_master(file))
      throw Error(Fault::refused, fmt::format("{} is a pseudo-terminal whose slave is not below it", file.link),
                  "its devpts must be mounted beside it, and it must not travel in a message" + external_remedy(file));
    const std::string slave = table.ptys().slave_of(file);
    const auto index = std::ranges::find_if(file.info.rest, [](const auto& l) { return l.starts_with("tty-index:"); });
    if (index != file.info.rest.end())
      if (const auto holder = table.holder_of_terminal(file.link, file.status, *index + "\n"))
        throw Error(Fault::refused,
                    fmt::format("the master of {} is open in {} outside of the tree too", slave, *holder),
                    "dump the common parent, or let that process close it" + external_remedy(file));
    const auto node = sys::try_stat(slave);
    if (const auto holder = node ? table.holder_of_terminal(slave, *node, {}) : std::nullopt)
      throw Error(Fault::refused,
                  fmt::format("the slave {} of this terminal is open in {} outside of the tree", slave, *holder),
                  "dump the common parent, or end that process" + external_remedy(file));
  }

  void dump(const FileView& file, OpenFiles& table, image::FileObject& object) const override {
    const image::PtyEnd* end = table.ptys().end_of(file);
    if (!end)
      throw Error(Fault::refused, fmt::format("{} travels in a message and nobody of the tree has it open", file.link),
                  "let the message be received");
    object.mutable_body()->PackFrom(*end);
  }

  void require_valid(const image::FileObject& object) const override {
    const auto end = body_of<image::PtyEnd>(object);
    if (!bounds::is_kernel_path(end.path())) throw Error(Fault::image, "path cannot be so");
    if (end.master() && end.pty() == 0) throw Error(Fault::image, "a master without a terminal");
    if (end.index() >= kMostPtys) throw Error(Fault::image, fmt::format("index cannot be {}", end.index()));
    if (end.master() && (object.flags() & O_ACCMODE) != O_RDWR)
      throw Error(Fault::image, fmt::format("flags of a master cannot be {:o}", object.flags()));
    if ((object.flags() & O_ACCMODE) == O_ACCMODE)
      throw Error(Fault::image, fmt::format("flags cannot be {:o}", object.flags()));
  }

  void check(const image::FileObject& object, const OpenedFiles& table, std::vector<Problem>& problems) const override {
    if (!object.body().Is<image::PtyEnd>()) return problems.push_back({"terminal", "its record is unreadable", {}});
    table.ptys().check_end(object);
    if (body_of<image::PtyEnd>(object).master()) table.ptys().check(body_of<image::PtyEnd>(object).pty(), problems);
  }

  UniqueFd restore(const image::FileObject& object, OpenedFiles& table) const override {
    UniqueFd fd = table.ptys().take(object);
    sys::set_status_flags(fd.get(), static_cast<int>(object.flags()));
    return fd;
  }

  // Modes that stand in the way of others, when all is open.
  void start(const image::FileObject& object, int, OpenedFiles& table) const override {
    const auto end = body_of<image::PtyEnd>(object);
    if (end.master()) table.ptys().start(end.pty());
  }
};

}  // namespace

const Kind* pty_kind() {
  static const PtyKind kind;
  return &kind;
}

}  // namespace mcr::kinds
