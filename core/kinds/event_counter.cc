// Counters of eventfd(2), read without being consumed.
#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/procfs/event_files.h"
#include "core/sys/event_file.h"
#include "core/sys/file.h"

namespace mcr::kinds {
namespace {

constexpr uint64_t kMost = UINT64_MAX - 1;  // a writer gets no further (eventfd(2)), only the kernel itself does

class EventCounterKind : public Kind {
 public:
  const char* name() const override { return "event_counter"; }
  bool claims(const FileView& file) const override { return file.link == "anon_inode:[eventfd]"; }

  void look(const FileView& file, const OpenFiles&) const override {
    if (procfs::event_counter_of(file.info).count > kMost)
      throw Error(Fault::refused, "the counter has overflowed (eventfd(2)), which nobody can bring about again",
                  "let the program read it before the dump");
  }

  void dump(const FileView& file, OpenFiles&, image::FileObject& object) const override {
    const auto counter = procfs::event_counter_of(file.info);
    image::EventCounter message;
    message.set_value(counter.count);
    message.set_semaphore(counter.is_semaphore ? *counter.is_semaphore
                                               : sys::probe_semaphore(file.copy, counter.count));
    object.mutable_body()->PackFrom(message);
  }

  void require_valid(const image::FileObject& object) const override {
    const auto message = body_of<image::EventCounter>(object);
    if (message.value() > kMost) throw Error(Fault::image, fmt::format("value cannot be {}", message.value()));
  }

  void check(const image::FileObject&, const OpenedFiles&, std::vector<Problem>&) const override {}

  UniqueFd restore(const image::FileObject& object, OpenedFiles&) const override {
    const auto message = body_of<image::EventCounter>(object);
    UniqueFd fd = sys::make_event_counter(message.value(), message.semaphore());
    sys::set_status_flags(fd.get(), static_cast<int>(object.flags()));
    return fd;
  }
};

}  // namespace

const Kind* event_counter_kind() {
  static const EventCounterKind kind;
  return &kind;
}

}  // namespace mcr::kinds
