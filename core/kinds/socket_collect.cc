// What waits in the queues of sockets. SO_PEEK_OFF and TCP_REPAIR, by which they are read, are state of the sockets:
// so the reading is done by a process apart, which puts them back even when the engine is killed meanwhile.
#include <netinet/in.h>
#include <poll.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/kinds/reading_undo.h"
#include "core/kinds/socket_table.h"
#include "core/kinds/tcp_repair.h"
#include "core/sys/apart.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::kinds {
namespace {

constexpr int kPeekOffset = 42, kTimestamp = 29, kPassCredentials = 16, kPassSecurity = 34, kPassPidfd = 76;  // SO_*
constexpr size_t kRoom = 1 << 20, kMostRoom = 256 << 20;
constexpr int kListening = 10;

bool is_set(int fd, int option) {
  const auto value = sys::try_get_option(fd, SOL_SOCKET, option);
  return value && value->find_first_not_of('\0') != std::string::npos;
}

struct Job {
  uint64_t inode = 0;
  int fd = -1;
  sys::SocketType type;
};

bool is_unix_stream(const Job& job) {
  return job.type.domain == AF_UNIX && job.type.type == SOCK_STREAM;
}

class PeekOffset {
 public:
  explicit PeekOffset(int fd) : fd_(fd), old_(sys::get_int_option(fd, SOL_SOCKET, kPeekOffset)) {}
  ~PeekOffset() { (void)sys::try_set_option(fd_, SOL_SOCKET, kPeekOffset, {reinterpret_cast<char*>(&old_), 4}); }
  PeekOffset(const PeekOffset&) = delete;
  PeekOffset& operator=(const PeekOffset&) = delete;
  void set(int value) { sys::set_int_option(fd_, SOL_SOCKET, kPeekOffset, value); }

 private:
  int fd_, old_;
};

// A recvmsg(2) at the end of a SOCK_SEQPACKET returns what a packet without bytes does, but no time: only messages have
// one. Asked for while this lives, unless the program has asked for another kind of it itself.
class StampedMessages {
 public:
  explicit StampedMessages(int fd) : fd_(fd) {
    for (const int option : {kTimestamp, 35, 37, 63, 64, 65})  // SO_TIMESTAMPNS, TIMESTAMPING, their successors (5.1)
      is_on_ = is_on_ || is_set(fd, option);
    if (is_on_) return;
    sys::set_int_option(fd, SOL_SOCKET, kTimestamp, 1);
    is_ours_ = true;
  }
  ~StampedMessages() {
    const int off = 0;
    if (is_ours_)
      (void)sys::try_set_option(fd_, SOL_SOCKET, kTimestamp, {reinterpret_cast<const char*>(&off), sizeof off});
  }
  StampedMessages(const StampedMessages&) = delete;
  StampedMessages& operator=(const StampedMessages&) = delete;

 private:
  int fd_;
  bool is_on_ = false, is_ours_ = false;
};

// The message that begins behind `offset` bytes; room grows until it fits.
std::optional<sys::SocketMessage> peek_at(PeekOffset& position, const Job& job, uint64_t offset, std::string& room) {
  for (;;) {
    position.set(static_cast<int>(offset));
    auto message = sys::try_peek(job.fd, room);
    if (!message || !message->truncated || job.type.type == SOCK_STREAM) return message;
    if (room.size() * 4 > kMostRoom) throw Error(Fault::refused, "a message in its queue is too long");
    room.resize(room.size() * 4);
  }
}

bool is_end(const Job& job, const sys::SocketMessage& message) {
  return message.data.empty() && job.type.domain == AF_UNIX && job.type.type == SOCK_SEQPACKET && !message.is_stamped;
}

// A message without bytes is passed over by every look but the first (net/core/datagram.c): one that leads the queue
// is seen by a look without an offset.
std::optional<sys::SocketMessage> leading_empty(PeekOffset& position, const Job& job,
                                                const std::optional<sys::SocketMessage>& first) {
  if (first && first->data.empty() && !is_end(job, *first)) return std::nullopt;
  position.set(-1);
  auto head = sys::try_peek(job.fd, kRoom);
  if (!head || !head->data.empty() || is_end(job, *head)) return std::nullopt;
  return head;
}

image::SocketMessage message_of(const sys::SocketMessage& from) {
  image::SocketMessage message;
  message.set_data(from.data);
  message.set_address(from.address);
  message.set_end_of_record(from.end_of_record);
  if (from.credentials && from.credentials->pid != 0) {  // 0: it was sent without
    message.set_has_credentials(true);
    message.set_pid(from.credentials->pid);
    message.set_uid(from.credentials->uid), message.set_gid(from.credentials->gid);
  }
  message.set_destination(from.arrival.destination), message.set_interface(from.arrival.interface);
  if (from.arrival.hops) message.set_hops(static_cast<uint32_t>(*from.arrival.hops) + 1);
  message.set_traffic_class(static_cast<uint32_t>(from.arrival.traffic_class.value_or(0)));
  return message;
}

// What the kernel has put together for the program (UDP_GRO) was several datagrams.
std::vector<image::SocketMessage> messages_of(const sys::SocketMessage& from) {
  const size_t segment = from.arrival.segment;
  std::vector<image::SocketMessage> all{message_of(from)};
  if (segment == 0 || from.data.size() <= segment) return all;
  all.front().set_data(from.data.substr(0, segment));
  for (size_t at = segment; at < from.data.size(); at += segment)
    all.emplace_back(all.front()).set_data(from.data.substr(at, segment));
  return all;
}

std::string frame(uint64_t inode, const google::protobuf::Message& message) {
  std::string bytes(reinterpret_cast<const char*>(&inode), sizeof inode);
  message.AppendToString(&bytes);
  return bytes;
}

void deliver(const Job& job, const sys::SocketMessage& message, const sys::Deliver& to) {
  std::vector<int> files;
  for (const UniqueFd& file : message.files) files.push_back(file.get());
  for (const image::SocketMessage& one : messages_of(message)) to(frame(job.inode, one), files);
}

// Each is handed over when it is found: should the engine be dead, the walk ends there.
void walk(const Job& job, const sys::Deliver& to) {
  PeekOffset position(job.fd);
  std::optional<StampedMessages> stamps;
  if (job.type.domain == AF_UNIX && job.type.type == SOCK_SEQPACKET) stamps.emplace(job.fd);
  bool is_first = true;
  std::string room(kRoom, '\0');
  uint64_t offset = 0;
  for (;;) {
    auto message = peek_at(position, job, offset, room);
    if (is_first)
      if (const auto head = leading_empty(position, job, message)) deliver(job, *head, to);
    is_first = false;
    if (!message || is_end(job, *message)) return;
    offset += message->data.size();
    deliver(job, *message, to);
  }
}

// Never more than there is: at the end of its bytes a stream tells its error, once (unix_stream_read_generic).
void walk_stream(const Job& job, const sys::Deliver& to) {
  PeekOffset position(job.fd);
  const auto bytes = static_cast<uint64_t>(sys::bytes_to_read(job.fd));
  std::string room;
  for (uint64_t offset = 0; offset < bytes;) {
    room.resize(std::min<uint64_t>(kRoom, bytes - offset));
    auto message = peek_at(position, job, offset, room);
    if (!message || message->data.empty())
      throw Error(Fault::refused, fmt::format("only {} of {} bytes that wait in it can be seen", offset, bytes),
                  "let the program read them, and dump again");
    offset += message->data.size();
    deliver(job, *message, to);
  }
}

// Bytes of a stream without anything between them can be looked at in one piece.
std::optional<sys::SocketMessage> read_at_once(const Job& job) {
  for (const int option : {kPassCredentials, kPassSecurity, kPassPidfd})
    if (is_set(job.fd, option)) return std::nullopt;
  if (sys::get_int_option(job.fd, SOL_SOCKET, kPeekOffset) != -1) return std::nullopt;
  const auto bytes = static_cast<size_t>(sys::bytes_to_read(job.fd));
  auto message = sys::try_peek(job.fd, bytes);
  if (!message || message->data.size() != bytes || !message->files.empty()) return std::nullopt;
  return message;
}

[[noreturn]] void refuse_error(const Job& job) {
  throw Error(Fault::refused, fmt::format("socket {} has an error for its owner to read (SO_ERROR)", job.inode),
              "let the program read or write it once, and dump again");
}

// Every look at packets, and at datagrams, takes the error first.
bool has_waiting(const Job& job) {
  const short state = sys::poll_now(job.fd, POLLIN | POLLPRI);
  if (is_unix_stream(job)) {
    if (state & POLLPRI)
      throw Error(Fault::refused, fmt::format("urgent data waits in socket {} (MSG_OOB)", job.inode),
                  "its place among the other bytes cannot be seen: let the program read it, and dump again");
    return sys::bytes_to_read(job.fd) > 0;
  }
  if (!(state & POLLERR)) return (state & POLLIN) != 0;
  if (job.type.domain != AF_UNIX || job.type.type != SOCK_SEQPACKET || sys::bytes_to_read(job.fd) > 0)
    refuse_error(job);
  return false;
}

bool has_queue(const Job& job) {
  if (job.type.domain == AF_UNIX) return true;
  return (job.type.domain == AF_INET || job.type.domain == AF_INET6) && job.type.type == SOCK_DGRAM &&
         (job.type.protocol == IPPROTO_UDP || job.type.protocol == IPPROTO_UDPLITE);
}

bool is_tcp(const Job& job) {
  return (job.type.domain == AF_INET || job.type.domain == AF_INET6) && job.type.protocol == IPPROTO_TCP;
}

}  // namespace

void SocketTable::add_message(uint64_t inode, image::SocketMessage message, std::vector<UniqueFd> files) {
  WaitingMessage& waiting = queues_[inode].emplace_back();
  waiting.message = std::move(message);
  for (UniqueFd& file : files) {
    waiting.files.push_back(file.get());
    in_flight_.push_back(std::move(file));
  }
}

// Sockets that came with a message, and that no process has.
std::vector<uint64_t> SocketTable::take_new_sockets() {
  std::vector<uint64_t> found;
  for (; examined_ < in_flight_.size(); ++examined_) {
    const int fd = in_flight_[examined_].get();
    const struct stat status = sys::stat_fd(fd);
    if (!S_ISSOCK(status.st_mode) || !sys::protocol_name(fmt::format("/proc/self/fd/{}", fd))) continue;
    if (!held_.try_emplace(status.st_ino, Holder{sys::own_pid(), fd}).second) continue;
    copies_[status.st_ino] = sys::duplicate(fd);
    found.push_back(status.st_ino);
  }
  return found;
}

void SocketTable::read_round(std::vector<uint64_t> inodes) {
  std::vector<Job> walks, connections;
  for (const uint64_t inode : inodes) {
    const Job job{inode, copies_.at(inode).get(), sys::type_of_socket(copies_.at(inode).get())};
    const Step step("socket {}", inode);
    if (is_tcp(job)) {
      if (with_connections_ && needs_repair(job.fd)) connections.push_back(job);
      continue;
    }
    const procfs::UnixSocket* known = job.type.domain == AF_UNIX ? find_unix(inode) : nullptr;
    if (!has_queue(job) || (known && known->state == kListening) || !has_waiting(job)) continue;
    if (is_unix_stream(job))
      if (const auto message = read_at_once(job)) {
        add_message(inode, message_of(*message), {});
        continue;
      }
    walks.push_back(job);
  }
  if (walks.empty() && connections.empty()) return;
  std::map<uint64_t, int> ends;
  for (const Job& job : connections) ends[job.inode] = job.fd;
  lock_outside(ends);
  std::vector<int> touched;
  for (const auto* jobs : {&walks, &connections})
    for (const Job& job : *jobs) touched.push_back(job.fd);
  std::set<uint64_t> changed;
  for (const auto* jobs : {&walks, &connections})
    for (const Job& job : *jobs) changed.insert(job.inode);
  // What comes in later rounds is in messages only.
  if (hold_) std::exchange(hold_, nullptr)(changed);
  ReadingUndo undo(touched);
  auto deliveries = sys::run_apart([&](const sys::Deliver& to) {
    for (const Job& job : walks) is_unix_stream(job) ? walk_stream(job, to) : walk(job, to);
    std::vector<image::TcpSocket> states(connections.size());
    // What is acknowledged may be missing from a queue that is read later: senders first.
    for (size_t i = 0; i < states.size(); ++i) read_tcp_sender(connections[i].fd, states[i]);
    for (size_t i = 0; i < states.size(); ++i) read_tcp_receiver(connections[i].fd, states[i]);
    for (size_t i = 0; i < states.size(); ++i) to(frame(connections[i].inode, states[i]), {});
  });
  undo.forget();
  for (sys::Delivery& one : deliveries) {
    uint64_t inode = 0;
    if (one.bytes.size() < sizeof inode) throw Error(Fault::internal, "the process apart sent half a message");
    std::memcpy(&inode, one.bytes.data(), sizeof inode);
    const std::string body = one.bytes.substr(sizeof inode);
    image::SocketMessage message;
    if (std::ranges::any_of(connections, [&](const Job& job) { return job.inode == inode; }))
      tcp_[inode].ParseFromString(body), tcp_[inode].set_lock_table(lock_of(inode));
    else if (message.ParseFromString(body))
      add_message(inode, std::move(message), std::move(one.files));
  }
}

void SocketTable::collect(const std::function<int(HostPid)>& pidfd_of, bool with_connections, const std::string& lock,
                          const Hold& hold) {
  hold_ = hold;
  lock_name_ = lock;
  has_collected_ = true;
  with_connections_ = with_connections;
  if (held_.empty()) return;
  diag_.reset();  // as it is now that nothing of the tree moves
  accept_queues_.reset();
  std::vector<uint64_t> inodes;
  for (const auto& [inode, holder] : held_) {
    if (external_.contains(inode)) continue;
    copies_[inode] = sys::get_fd(pidfd_of(holder.pid), holder.fd);
    inodes.push_back(inode);
  }
  for (; !inodes.empty(); inodes = take_new_sockets()) read_round(std::move(inodes));
  hold_ = nullptr;
  // What a client still has to send was read now; what has left it since is in the other end.
  accept_queues_.reset();
}

}  // namespace mcr::kinds
