// Restore: what the dump has put in the way of packets, for the message of a restore that fails.
#pragma once

#include <string>

namespace mcr::kinds {

class OpenedFiles;

// The locks (packet_lock.h) of this image that are there still, each with the command that removes it. Empty: none.
// Throws nothing.
std::string describe_locks_left(const OpenedFiles& table);

}  // namespace mcr::kinds
