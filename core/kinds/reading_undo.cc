#include "core/kinds/reading_undo.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

#include "core/base/log.h"
#include "core/sys/socket.h"

namespace mcr::kinds {
namespace {

constexpr int kPeekOffset = 42;  // SO_PEEK_OFF

bool is_in_repair(int fd) {
  const auto mode = sys::try_get_option(fd, IPPROTO_TCP, TCP_REPAIR);
  return mode && std::ranges::any_of(*mode, [](char byte) { return byte != 0; });
}

}  // namespace

ReadingUndo::ReadingUndo(std::span<const int> sockets) : sockets_(sockets.begin(), sockets.end()) {
  for (const int fd : sockets_)
    for (const int name : {SO_REUSEADDR, SO_OOBINLINE, SO_TIMESTAMP, kPeekOffset})
      if (auto value = sys::try_get_option(fd, SOL_SOCKET, name)) noted_.push_back({fd, name, std::move(*value)});
}

// Repair mode first: it clears SO_REUSEADDR.
ReadingUndo::~ReadingUndo() {
  if (noted_.empty()) return;
  constexpr int kOffWithoutProbe = -1;
  for (const int fd : sockets_)
    if (sys::type_of_socket(fd).protocol == IPPROTO_TCP && is_in_repair(fd))
      (void)sys::try_set_option(fd, IPPROTO_TCP, TCP_REPAIR,
                                {reinterpret_cast<const char*>(&kOffWithoutProbe), sizeof kOffWithoutProbe});
  for (const Noted& one : noted_)
    if (sys::try_get_option(one.fd, SOL_SOCKET, one.name) != one.value)
      if (sys::try_set_option(one.fd, SOL_SOCKET, one.name, one.value) != 0)
        log::warning("kinds", "option {} of a socket could not be put back", one.name);
}

}  // namespace mcr::kinds
