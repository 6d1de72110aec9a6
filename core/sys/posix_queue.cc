#include "core/sys/posix_queue.h"

#include <fcntl.h>
#include <mqueue.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/sys/failure.h"

namespace mcr::sys {
namespace {

long open_queue(const std::string& name, int flags, const mq_attr* attributes) {
  return ::syscall(SYS_mq_open, name.c_str(), flags | O_CLOEXEC, 0, attributes);
}

}  // namespace

bool is_posix_queue(const std::string& door) {
  constexpr long kMagic = 0x19800202;  // MQUEUE_MAGIC of ipc/mqueue.c
  struct statfs status {};
  return ::statfs(door.c_str(), &status) == 0 && status.f_type == kMagic;
}

PosixQueueAttributes queue_attributes(int fd) {
  mq_attr attributes{};
  check(::syscall(SYS_mq_getsetattr, fd, nullptr, &attributes), "mq_getattr");
  return {attributes.mq_maxmsg, attributes.mq_msgsize, attributes.mq_curmsgs};
}

std::optional<UniqueFd> try_open_queue(const std::string& name, int flags) {
  const long fd = open_queue(name, flags & ~(O_CREAT | O_EXCL), nullptr);
  if (fd < 0 && errno == ENOENT) return std::nullopt;
  return UniqueFd(static_cast<int>(check(fd, fmt::format("mq_open(/{})", name))));
}

UniqueFd make_queue(const std::string& name, int flags, const PosixQueueAttributes& attributes) {
  mq_attr wanted{};
  wanted.mq_maxmsg = attributes.most_messages;
  wanted.mq_msgsize = attributes.message_bytes;
  return UniqueFd(
      static_cast<int>(check(open_queue(name, flags | O_CREAT | O_EXCL, &wanted), fmt::format("mq_open(/{})", name))));
}

bool try_remove_queue(const std::string& name) {
  return ::syscall(SYS_mq_unlink, name.c_str()) == 0;
}

}  // namespace mcr::sys
