// Keeps the packets of TCP connections away while the program that has them is down: a table of nf_tables (Linux 3.13;
// families in one table 3.14) that drops them, in both directions. Without it the kernel would answer the other end
// that there is no such connection. Needs CAP_NET_ADMIN over the network namespace.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/unique_fd.h"

namespace mcr::kinds {

// Each a struct sockaddr_in or sockaddr_in6.
struct ConnectionEnds {
  std::string local, remote;
};

// Packets that a restore itself makes (SO_MARK) pass.
inline constexpr uint32_t kPassingMark = 0x6d637269;

// Batches of nf_tables messages (nfnetlink); pure. A table whose owner is a netlink socket goes with it (Linux 5.12).
std::string lock_batch(const std::string& table, const std::vector<ConnectionEnds>& connections, bool is_owned);
std::string unlock_batch(const std::string& table);

// "mini-criu-4711-18f3a": what a dump calls its table, and nothing else is ever removed.
bool is_lock_name(const std::string& table);
std::string describe_lock(const std::string& table);  // with the command that removes it

// A table of this network namespace that stays, whatever becomes of us. Throws Fault::refused where there is no
// nf_tables.
void add_lock(const std::string& table, const std::vector<ConnectionEnds>& connections);
bool remove_lock(const std::string& table);  // false: there is none
bool has_lock(const std::string& table);

// One that the kernel removes when the last copy of socket() is closed: by us, or by our death.
class PacketLock {
 public:
  PacketLock(const std::string& table, const std::vector<ConnectionEnds>& connections);
  int socket() const { return socket_.get(); }

 private:
  UniqueFd socket_;
};

}  // namespace mcr::kinds
