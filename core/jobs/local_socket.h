// Sockets in a job's folder, by their names: one message each way at a time (SOCK_SEQPACKET). Only the job's user and
// root are listened to. Throws Error unless said otherwise.
#pragma once

#include <optional>
#include <string>

#include "core/base/unique_fd.h"

namespace mcr::jobs {

// Replaces the socket of a process that is gone: the caller holds a lock that says so.
UniqueFd listen_in(const std::string& folder, const char* name, int backlog);
void remove_socket(const std::string& folder, const char* name) noexcept;
// nullopt: it was another user, who is hung up on, or one that has gone meanwhile. To be called when it is readable.
std::optional<UniqueFd> accept_ours(int listener);
std::optional<UniqueFd> connect_in(const std::string& folder, const char* name);  // nullopt: nobody listens
bool try_send_now(int socket, const std::string& bytes);                          // false: gone, or it does not read

}  // namespace mcr::jobs
