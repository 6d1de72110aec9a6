// signalfd(2). The signals that it gives are pending in a process or a thread, and are saved there.
#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/procfs/event_files.h"
#include "core/sys/event_file.h"
#include "core/sys/file.h"

namespace mcr::kinds {
namespace {

class SignalFileKind : public Kind {
 public:
  const char* name() const override { return "signal_file"; }
  bool claims(const FileView& file) const override { return file.link == "anon_inode:[signalfd]"; }
  void look(const FileView&, const OpenFiles&) const override {}

  void dump(const FileView& file, OpenFiles&, image::FileObject& object) const override {
    image::SignalFile message;
    message.set_mask(procfs::signal_mask_of(file.info));
    object.mutable_body()->PackFrom(message);
  }

  void require_valid(const image::FileObject& object) const override { body_of<image::SignalFile>(object); }
  void check(const image::FileObject&, const OpenedFiles&, std::vector<Problem>&) const override {}

  UniqueFd restore(const image::FileObject& object, OpenedFiles&) const override {
    UniqueFd fd = sys::make_signal_file(body_of<image::SignalFile>(object).mask());
    sys::set_status_flags(fd.get(), static_cast<int>(object.flags()));
    return fd;
  }
};

}  // namespace

const Kind* signal_file_kind() {
  static const SignalFileKind kind;
  return &kind;
}

}  // namespace mcr::kinds
