#include "core/kinds/locks_left.h"

#include <set>

#include "core/base/log.h"
#include "core/kinds/opened_files.h"
#include "core/kinds/packet_lock.h"
#include "images/proto/sockets.pb.h"

namespace mcr::kinds {

std::string describe_locks_left(const OpenedFiles& table) {
  std::set<std::string> locks;
  image::TcpSocket message;
  for (const auto& [id, object] : table.objects())
    if (object.body().Is<image::TcpSocket>() && object.body().UnpackTo(&message) && is_lock_name(message.lock_table()))
      locks.insert(message.lock_table());
  std::string text;
  for (const std::string& lock : locks) try {
      if (has_lock(lock)) text += (text.empty() ? "" : "; ") + describe_lock(lock);
    } catch (const Error& error) {
      log::debug("kinds", "nf_tables cannot be asked: {}", error.reason());
    }
  return text;
}

}  // namespace mcr::kinds
