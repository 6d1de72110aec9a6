#include "images/connection_diff.h"

#include <fmt/format.h>
#include <linux/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <optional>

namespace mcr::images {
namespace {

constexpr uint64_t kNsPerTick = 1'000'000;

// A struct sockaddr_in or sockaddr_in6: port and address. An IPv4 connection of an IPv6 socket is written either way.
std::string end_of(const std::string& address) {
  static const std::string kMapped("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
  if (address.size() < 8) return address;
  const bool is_long = address.size() >= 24;
  std::string bytes = address.substr(is_long ? 8 : 4, is_long ? 16 : 4);
  if (is_long && bytes.starts_with(kMapped)) bytes.erase(0, kMapped.size());
  return address.substr(2, 2) + bytes;
}

std::string ends(const std::string& from, const std::string& to) {
  const std::string first = end_of(from);
  return fmt::format("{}:", first.size()) + first + end_of(to);
}

int32_t distance(uint32_t from, uint32_t to) {
  return static_cast<int32_t>(to - from);
}

uint32_t end_of(const image::TcpQueue& queue) {
  return queue.sequence() + static_cast<uint32_t>(queue.data().size());
}

struct Stream {
  uint32_t begin = 0;
  std::string bytes;
  bool operator==(const Stream&) const = default;
};

// What the receiver has not read, and what the sender has to send after it; they may have some of it twice. nullopt: no
// two ends of one connection.
std::optional<Stream> stream_between(const image::TcpQueue& sent, const image::TcpQueue& received) {
  const uint32_t begin = received.sequence(), middle = end_of(received);
  if (distance(sent.sequence(), middle) < 0 || distance(middle, end_of(sent)) < 0) return std::nullopt;
  Stream stream{begin, received.data()};
  const size_t twice = middle - sent.sequence();
  const size_t overlap = std::min(twice, received.data().size());
  const std::string_view again = std::string_view(sent.data()).substr(twice - overlap, overlap);
  if (again != std::string_view(received.data()).substr(received.data().size() - overlap)) return std::nullopt;
  stream.bytes += sent.data().substr(twice);
  return stream;
}

bool is_same_between(const image::TcpQueue* sent_a, const image::TcpQueue* received_a, const image::TcpQueue* sent_b,
                     const image::TcpQueue* received_b) {
  if (sent_a && received_a && sent_b && received_b) {
    const auto before = stream_between(*sent_a, *received_a), after = stream_between(*sent_b, *received_b);
    return before && after && *before == *after;
  }
  // One end is elsewhere. It may have acknowledged the first bytes of a queue, or have sent more.
  if (!received_a && !received_b && sent_a && sent_b)
    return end_of(*sent_a) == end_of(*sent_b) && sent_a->data().ends_with(sent_b->data());
  if (!sent_a && !sent_b && received_a && received_b)
    return received_a->sequence() == received_b->sequence() && received_b->data().starts_with(received_a->data());
  return false;
}

const image::TcpSocket* socket_of(const google::protobuf::Message* message) {
  return message && message->GetDescriptor() == image::TcpSocket::descriptor()
             ? static_cast<const image::TcpSocket*>(message)
             : nullptr;
}

}  // namespace

void Connections::add(const image::TcpSocket& socket) {
  if (socket.remote().empty()) return;
  sockets_.push_back(socket);
  by_ends_[ends(socket.local(), socket.remote())] = &sockets_.back();
}

const image::TcpSocket* Connections::peer_of(const image::TcpSocket& socket) const {
  const auto found = by_ends_.find(ends(socket.remote(), socket.local()));
  return found == by_ends_.end() ? nullptr : found->second;
}

bool is_same_stream(const FieldChange& change, const BothConnections& connections) {
  const image::TcpSocket *a = socket_of(change.outer_a), *b = socket_of(change.outer_b);
  if (!a || !b) return false;
  const image::TcpSocket *peer_a = connections.a.peer_of(*a), *peer_b = connections.b.peer_of(*b);
  const bool is_send = change.a == &a->send();
  const auto send = [](const image::TcpSocket* socket) { return socket ? &socket->send() : nullptr; };
  const auto receive = [](const image::TcpSocket* socket) { return socket ? &socket->receive() : nullptr; };
  return is_send ? is_same_between(send(a), receive(peer_a), send(b), receive(peer_b))
                 : is_same_between(send(peer_a), receive(a), send(peer_b), receive(b));
}

bool is_later_timestamp(const FieldChange& change, uint64_t elapsed_ns) {
  const image::TcpSocket *a = socket_of(change.a), *b = socket_of(change.b);
  if (!a || !b) return false;
  const uint32_t ticks = b->timestamp() - a->timestamp();  // goes round
  return ticks <= elapsed_ns / kNsPerTick;
}

bool is_sent(const FieldChange& change) {
  const image::TcpSocket *a = socket_of(change.a), *b = socket_of(change.b);
  return a && b && b->never_sent() <= a->never_sent();
}

// What the kernel itself requires of one (tcp_repair_set_window, net/ipv4/tcp.c), and that the largest never falls.
bool is_possible_window(const FieldChange& change) {
  const image::TcpSocket *a = socket_of(change.a), *b = socket_of(change.b);
  tcp_repair_window before{}, after{};
  if (!a || !b || a->window().size() != sizeof before || b->window().size() != sizeof after) return false;
  std::memcpy(&before, a->window().data(), sizeof before);
  std::memcpy(&after, b->window().data(), sizeof after);
  const uint32_t next = end_of(b->receive()) + (b->received_fin() ? 1 : 0);
  return after.max_window >= before.max_window && after.snd_wnd <= after.max_window &&
         distance(next, after.rcv_wup) <= 0 && distance(next + after.rcv_wnd, after.snd_wl1) <= 0;
}

bool is_arrived_end(const FieldChange& change, const BothConnections& connections) {
  constexpr int kEstablished = 1, kFinWait1 = 4, kFinWait2 = 5, kCloseWait = 8, kClosing = 11;
  const image::TcpSocket *a = socket_of(change.a), *b = socket_of(change.b);
  if (!a || !b) return false;
  if (a->state() == kFinWait1 && b->state() == kFinWait2) return a->received_fin() == b->received_fin();
  const bool arrives =
      (a->state() == kEstablished && b->state() == kCloseWait) || (a->state() == kFinWait1 && b->state() == kClosing);
  const image::TcpSocket* peer = connections.a.peer_of(*a);
  return arrives && b->received_fin() && (!peer || peer->sent_fin());
}

}  // namespace mcr::images
