#include "core/kinds/tcp_anew.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <optional>
#include <thread>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/kinds/socket_options.h"
#include "core/kinds/tcp_repair.h"
#include "core/kinds/tcp_sockets.h"
#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/sys/socket.h"

namespace mcr::kinds {
namespace {

using std::chrono::milliseconds;

constexpr int kPatience = 2'000;   // ms; the loopback delivers at once, but under load perhaps later
constexpr milliseconds kTick{11};  // more than one of any kernel (HZ is 100 or more)

bool comes_true(const std::function<bool()>& condition) {
  for (int i = 0; i < kPatience && !condition(); ++i) std::this_thread::sleep_for(milliseconds(1));
  return condition();
}

uint16_t port_of(const image::TcpSocket& client) {
  uint16_t port = 0;
  std::memcpy(&port, client.local().data() + 2, sizeof port);
  return ntohs(port);
}

// A connection with these ends that has ended lately stays in the way for a second (net.ipv4.tcp_tw_reuse).
void connect_soon(int fd, const std::string& remote) {
  int code = 0;
  (void)comes_true([&] { return (code = sys::try_connect_socket(fd, remote)) != EADDRNOTAVAIL; });
  if (code != 0) sys::throw_code(code, "connect");
}

void send_all(int fd, std::string_view data) {
  constexpr size_t kChunk = 32 << 10;
  for (; !data.empty(); data.remove_prefix(std::min(kChunk, data.size()))) {
    sys::SocketMessage part;
    part.data = data.substr(0, kChunk);
    if (const int code = sys::try_send(fd, part, {}); code != 0) sys::throw_code(code, "send again");
  }
}

}  // namespace

void bind_anew(int fd, const image::TcpSocket& client) {
  if (!client.bound()) return;
  std::optional<ForcedBind> forced;
  if (sys::has_capability(CAP_NET_ADMIN)) forced.emplace(fd);
  if (const int code = try_bind_inet(fd, client.local(), client.foreign()); code != 0) sys::throw_code(code, "bind");
}

OpenQueue::OpenQueue(int listener, const image::TcpSocket& message)
    : listener_(listener),
      message_(message),
      deferred_(int_option_of(message.common(), IPPROTO_TCP, TCP_DEFER_ACCEPT, 0)),
      first_port_(first_local_port()) {
  sys::listen_on(listener, std::max(message.backlog(), message.pending_size() + 1));
  if (deferred_ != 0) sys::set_int_option(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
}

// The next dump must be able to see the order, which it learns from times and ports (tcp_waiting.h).
void OpenQueue::keep_apart(const image::TcpSocket& client) {
  tick_.push_back(port_of(client));
  if (tick_.size() == 1 || is_order_of_ports(tick_, first_port_)) return;
  std::this_thread::sleep_for(kTick);
  tick_ = {port_of(client)};
}

void OpenQueue::add(int fd, const image::TcpSocket& client, bool half_open) {
  const Step step("{} to {}, which waits to be accepted", describe_address(client.local()),
                  describe_address(client.remote()));
  if (half_open && deferred_ != 0 && !defers_) {
    defers_ = true;
    sys::set_int_option(listener_, IPPROTO_TCP, TCP_DEFER_ACCEPT, deferred_);
  }
  keep_apart(client);
  const uint32_t before = waiting_at(listener_);
  sys::set_status_flags(fd, O_NONBLOCK);
  connect_soon(fd, client.remote());
  const auto has_left = [&] { return tcp_state_of(fd) != tcp::kSynSent; };
  if (!comes_true(has_left) || tcp_state_of(fd) != tcp::kEstablished)
    throw Error(Fault::system, "it cannot be made again: the listener does not answer",
                "a packet filter that drops or rejects packets of this host to itself does this");
  if (!defers_ && !comes_true([&] { return waiting_at(listener_) > before; }))
    throw Error(Fault::system, "it has not come to its listener", "end other programs that listen there (ss -ltnp)");
  send_all(fd, client.send().data());
  if (client.sent_fin()) (void)sys::try_shutdown(fd, SHUT_WR);
}

void OpenQueue::close() {
  if (deferred_ != 0 && !defers_) sys::set_int_option(listener_, IPPROTO_TCP, TCP_DEFER_ACCEPT, deferred_);
  sys::listen_on(listener_, message_.backlog());
}

void open_anew(int fd, const image::TcpSocket& client) {
  const int code = sys::try_connect_socket(fd, client.remote());
  if (code != 0)
    log::warning("kinds", "The connection {} to {}, which was being opened, cannot be opened anew: {}",
                 describe_address(client.local()), describe_address(client.remote()), sys::code_name(code));
}

}  // namespace mcr::kinds
