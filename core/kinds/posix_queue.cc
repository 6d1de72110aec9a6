// POSIX message queues. A queue has a name and outlives its users; its messages cannot be read without being taken out.
// So the queue that the program had must still be there at the restore, as it was; or, if it was empty, not be there at
// all: then it is made.
#include <fcntl.h>

#include <charconv>

#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "core/sys/posix_queue.h"
#include "images/proto/ipc.pb.h"

namespace mcr::kinds {
namespace {

constexpr off_t kStatusBytes = 80;  // FILENT_SIZE of ipc/mqueue.c: the size of every queue as a file
constexpr uint32_t kPermissions = 0777;
constexpr uint32_t kReopenFlags = O_ACCMODE | O_NONBLOCK;
constexpr size_t kLongestName = 255;
constexpr int64_t kMostMessages = 65536, kMostBytes = 16 << 20;  // HARD_MSGMAX, HARD_MSGSIZEMAX

// A field of "QSIZE:129 NOTIFY:2 SIGNO:0 NOTIFY_PID:8260" (mq_overview(7)).
int64_t field_of(const std::string& status, const std::string& key) {
  int64_t value = 0;
  if (const size_t at = status.find(key); at != std::string::npos)
    std::from_chars(status.data() + at + key.size(), status.data() + status.size(), value);
  return value;
}

// A new opening: one of the program's may be for writing only.
std::string status_of(const FileView& file) {
  return sys::try_read_text(file.door).value_or("");
}

image::PosixQueue describe(const std::string& name, int fd) {
  const struct stat status = sys::stat_fd(fd);
  const auto attributes = sys::queue_attributes(fd);
  image::PosixQueue queue;
  queue.set_name(name);
  queue.set_mode(status.st_mode & kPermissions);
  queue.set_uid(status.st_uid), queue.set_gid(status.st_gid);
  queue.set_most_messages(attributes.most_messages);
  queue.set_message_bytes(attributes.message_bytes);
  queue.set_waiting(attributes.waiting);
  queue.set_waiting_bytes(field_of(sys::try_read_text(fmt::format("/proc/self/fd/{}", fd)).value_or(""), "QSIZE:"));
  return queue;
}

// A restore that was killed has left it: made without permissions, and nothing was sent yet.
bool is_half_made(const image::PosixQueue& wanted, const image::PosixQueue& found) {
  return found.mode() == 0 && found.waiting() == 0 && wanted.waiting() == 0 && wanted.mode() != 0 &&
         found.most_messages() == wanted.most_messages() && found.message_bytes() == wanted.message_bytes();
}

std::string difference(const image::PosixQueue& wanted, const image::PosixQueue& found) {
  if (found.uid() != wanted.uid() || found.gid() != wanted.gid() || found.mode() != wanted.mode())
    return fmt::format("belongs to user {}, group {}, with mode {:o}", found.uid(), found.gid(), found.mode());
  if (found.most_messages() != wanted.most_messages() || found.message_bytes() != wanted.message_bytes())
    return fmt::format("takes {} messages of {} bytes, not {} of {}", found.most_messages(), found.message_bytes(),
                       wanted.most_messages(), wanted.message_bytes());
  if (found.waiting() != wanted.waiting() || found.waiting_bytes() != wanted.waiting_bytes())
    return fmt::format("holds {} messages ({} bytes) now, not {} ({})", found.waiting(), found.waiting_bytes(),
                       wanted.waiting(), wanted.waiting_bytes());
  return {};
}

class PosixQueueKind : public Kind {
 public:
  const char* name() const override { return "posix_queue"; }

  bool claims(const FileView& file) const override {
    return S_ISREG(file.status.st_mode) && file.status.st_size == kStatusBytes && file.link.rfind('/') == 0 &&
           sys::is_posix_queue(file.door);
  }

  void look(const FileView& file, const OpenFiles&) const override {
    if (file.status.st_nlink == 0)
      throw Error(Fault::refused, fmt::format("the message queue {} is unlinked", file.link),
                  "a queue without a name cannot be saved: let the program close it before the dump");
    const int64_t owner = field_of(status_of(file), "NOTIFY_PID:");
    if (owner == file.pid.get())
      throw Error(Fault::refused, fmt::format("it is to be notified of messages in {} (mq_notify)", file.link),
                  "the kernel does not show what it is to be told: let the program take the registration back");
  }

  void dump(const FileView& file, OpenFiles&, image::FileObject& object) const override {
    const UniqueFd fd = sys::open(file.door, O_RDONLY | O_NONBLOCK);
    object.mutable_body()->PackFrom(describe(file.link.substr(1), fd.get()));
    object.set_offset(0);
  }

  void check(const image::FileObject& object, const OpenedFiles& table, std::vector<Problem>& problems) const override {
    image::PosixQueue wanted;
    if (!unpack(object, wanted)) return problems.push_back({"POSIX message queue", "its record is unreadable", {}});
    const std::string what = fmt::format("POSIX message queue /{}", wanted.name());
    const auto fd = sys::try_open_queue(wanted.name(), O_RDONLY | O_NONBLOCK);
    if (!fd && wanted.waiting() != 0)
      problems.push_back(
          {what, fmt::format("is gone, and {} messages with it", wanted.waiting()),
           "its messages are in no image; restore on the host of the dump, before the queue is removed"});
    if (!fd) return;
    if (table.policy().beside_original)
      return problems.push_back({what, "is there, and the original may have it: messages would go to either",
                                 "restore without --new-pids when the original has ended"});
    const image::PosixQueue found = describe(wanted.name(), fd->get());
    if (is_half_made(wanted, found)) return;
    if (const std::string changed = difference(wanted, found); !changed.empty())
      problems.push_back({what, changed + ": it was used or changed since the dump",
                          "bring it back to what it was; one that was empty may also be removed (rm in /dev/mqueue)"});
  }

  UniqueFd restore(const image::FileObject& object, OpenedFiles& table) const override {
    image::PosixQueue wanted;
    if (!unpack(object, wanted)) throw Error(Fault::image, "its record is unreadable");
    const auto flags = static_cast<int>(object.flags() & kReopenFlags);
    auto existing = sys::try_open_queue(wanted.name(), flags);
    if (existing && !is_half_made(wanted, describe(wanted.name(), existing->get()))) return std::move(*existing);
    if (!existing && wanted.waiting() != 0) throw Error(Fault::refused, "it has gone since the check", "restore again");
    UniqueFd fd = existing ? std::move(*existing) : sys::make_queue(wanted.name(), flags, attributes_of(wanted));
    table.undo_unless_kept([name = wanted.name()] { sys::try_remove_queue(name); });
    sys::set_ownership(fd.get(), wanted.uid(), wanted.gid());
    sys::set_mode(fd.get(), wanted.mode());
    return fd;
  }

 private:
  static sys::PosixQueueAttributes attributes_of(const image::PosixQueue& queue) {
    return {queue.most_messages(), queue.message_bytes(), 0};
  }
  static bool unpack(const image::FileObject& object, image::PosixQueue& queue) {
    return object.body().UnpackTo(&queue) && !queue.name().empty() && queue.name().size() <= kLongestName &&
           queue.name().find('/') == std::string::npos && queue.name().find('\0') == std::string::npos &&
           queue.mode() <= kPermissions && queue.most_messages() > 0 && queue.most_messages() <= kMostMessages &&
           queue.message_bytes() > 0 && queue.message_bytes() <= kMostBytes && queue.waiting() >= 0;
  }
};

}  // namespace

const Kind* posix_queue_kind() {
  static const PosixQueueKind kind;
  return &kind;
}

}  // namespace mcr::kinds
