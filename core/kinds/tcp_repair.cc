#include "core/kinds/tcp_repair.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "core/base/error.h"
#include "core/kinds/tcp_segment.h"
#include "core/sys/failure.h"
#include "core/sys/socket.h"

namespace mcr::kinds {
namespace {

constexpr int kOn = 1, kOff = 0, kOffWithoutProbe = -1;  // TCP_REPAIR_*, the last since 4.19
constexpr int kNoQueue = 0, kReceiveQueue = 1, kSendQueue = 2;
constexpr int kMaxSegment = 2, kWindowScale = 3, kSackPermitted = 4, kTimestamps = 8;  // TCPOPT_*
constexpr int kPeekOffset = 42;                                                        // SO_PEEK_OFF
constexpr int kMicroseconds = 64;                                                      // TCPI_OPT_USEC_TS, 6.7
constexpr size_t kChunk = 32 << 10;

void set_tcp(int fd, int name, int value) {
  sys::set_int_option(fd, IPPROTO_TCP, name, value);
}

// Another value of an option while it lives. TCP has SO_PEEK_OFF since 6.10 (IPv4) and 6.12: what cannot be read has no
// effect.
class OtherValue {
 public:
  OtherValue(int fd, int level, int name, int value) : fd_(fd), level_(level), name_(name) {
    const auto old = sys::try_get_option(fd, level, name);
    if (!old || old->size() != sizeof value || std::memcmp(old->data(), &value, sizeof value) == 0) return;
    old_ = *old;
    sys::set_int_option(fd, level, name, value);
  }
  ~OtherValue() {
    if (!old_.empty()) (void)sys::try_set_option(fd_, level_, name_, old_);
  }
  OtherValue(const OtherValue&) = delete;
  OtherValue& operator=(const OtherValue&) = delete;

 private:
  int fd_, level_, name_;
  std::string old_;
};

class RepairMode {
 public:
  explicit RepairMode(int fd) : fd_(fd), reuse_(sys::get_int_option(fd, SOL_SOCKET, SO_REUSEADDR)) {
    set_tcp(fd, TCP_REPAIR, kOn);
  }
  ~RepairMode() {
    put(IPPROTO_TCP, TCP_REPAIR, kOffWithoutProbe);
    put(SOL_SOCKET, SO_REUSEADDR, reuse_);  // repair mode clears it
  }
  RepairMode(const RepairMode&) = delete;
  RepairMode& operator=(const RepairMode&) = delete;

 private:
  void put(int level, int name, int value) {
    (void)sys::try_set_option(fd_, level, name, {reinterpret_cast<const char*>(&value), sizeof value});
  }
  int fd_, reuse_;
};

tcp_info info_of(int fd) {
  tcp_info info{};
  const auto bytes = sys::try_get_option(fd, IPPROTO_TCP, TCP_INFO, sizeof info);
  if (!bytes) throw Error(Fault::system, "its state cannot be read (TCP_INFO)");
  std::memcpy(&info, bytes->data(), std::min(bytes->size(), sizeof info));
  return info;
}

std::string peek(int fd, int bytes) {
  if (bytes <= 0) return {};
  const auto message = sys::try_peek(fd, static_cast<size_t>(bytes));
  return message ? message->data : std::string();
}

// What waits to be read, urgent data too and what lies behind it: SIOCINQ stops there, unless SO_OOBINLINE is set
// (tcp_inq in include/net/tcp.h).
int bytes_with_urgent(int fd) {
  const OtherValue inline_urgent(fd, SOL_SOCKET, SO_OOBINLINE, 1);
  return sys::bytes_to_read(fd);
}

// What was sent and is not acknowledged, and what waits to be sent. Whole segments are seen: the first of them may have
// been acknowledged in part, and more may be at any moment, so the count comes last.
std::string peek_unacknowledged(int fd, bool sent_fin) {
  constexpr int kLongestSegment = 1 << 20;
  std::string data = peek(fd, sys::bytes_unsent(fd) + kLongestSegment);
  const auto left = static_cast<size_t>(std::max(sys::bytes_unsent(fd), 0));
  const size_t expected = left - (sent_fin && left > 0 ? 1 : 0);  // the FIN is the last to be acknowledged
  if (data.size() < expected)
    throw Error(Fault::refused,
                fmt::format("only {} of {} bytes that a connection has sent can be read", data.size(), expected),
                "dump again");
  data.erase(0, data.size() - expected);
  return data;
}

// Data that goes into a queue as it is: in repair mode nothing is sent.
void put_data(int fd, std::string_view data) {
  while (!data.empty()) {
    sys::SocketMessage part;
    part.data = data.substr(0, kChunk);
    if (const int code = sys::try_send(fd, part, {}); code != 0) sys::throw_code(code, "put back what was under way");
    data.remove_prefix(part.data.size());
  }
}

void set_options(int fd, const image::TcpSocket& state) {
  std::vector<tcp_repair_opt> options;
  if (state.has_window_scale()) options.push_back({kWindowScale, state.send_scale() | state.receive_scale() << 16});
  if (state.selective_ack()) options.push_back({kSackPermitted, 0});
  if (state.timestamps()) options.push_back({kTimestamps, 0});
  if (state.mss() != 0) options.push_back({kMaxSegment, state.mss()});
  for (const tcp_repair_opt& option : options)
    sys::set_option(fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, {reinterpret_cast<const char*>(&option), sizeof option});
  if (state.timestamps()) set_tcp(fd, TCP_TIMESTAMP, static_cast<int>(state.timestamp()));
}

// What was announced last may count a FIN, which comes once more.
void set_window(int fd, const image::TcpSocket& state) {
  tcp_repair_window window{};
  std::memcpy(&window, state.window().data(), std::min(state.window().size(), sizeof window));
  const uint32_t end = state.receive().sequence() + static_cast<uint32_t>(state.receive().data().size());
  if (static_cast<int32_t>(window.rcv_wup - end) > 0) window.rcv_wup = end;
  sys::set_option(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, {reinterpret_cast<const char*>(&window), sizeof window});
}

}  // namespace

int tcp_state_of(int fd) {
  return info_of(fd).tcpi_state;
}

bool has_sent_segments(int fd) {
  return info_of(fd).tcpi_segs_out > 0;
}

uint32_t waiting_at(int listener) {
  return info_of(listener).tcpi_unacked;  // of a listener that is what it means (tcp_get_info, net/ipv4/tcp.c)
}

bool is_connected_state(int state) {
  return state != tcp::kClose && state != tcp::kListen && state != tcp::kSynSent && state != tcp::kSynReceived;
}

void read_tcp_sender(int fd, image::TcpSocket& state) {
  const OtherValue from_the_start(fd, SOL_SOCKET, kPeekOffset, -1);
  const RepairMode repair(fd);
  const tcp_info info = info_of(fd);
  const int now = info.tcpi_state;
  state.set_state(now);
  state.set_sent_fin(now == tcp::kFinWait1 || now == tcp::kFinWait2 || now == tcp::kClosing || now == tcp::kLastAck);
  state.set_selective_ack((info.tcpi_options & TCPI_OPT_SACK) != 0);
  state.set_timestamps((info.tcpi_options & TCPI_OPT_TIMESTAMPS) != 0);
  state.set_has_window_scale((info.tcpi_options & TCPI_OPT_WSCALE) != 0);
  state.set_send_scale(info.tcpi_snd_wscale), state.set_receive_scale(info.tcpi_rcv_wscale);
  state.set_mss(static_cast<uint32_t>(sys::get_int_option(fd, IPPROTO_TCP, TCP_MAXSEG)));
  state.set_timestamp(static_cast<uint32_t>(sys::get_int_option(fd, IPPROTO_TCP, TCP_TIMESTAMP)));
  // Since 6.7 the lowest bit means microseconds.
  if (!(info.tcpi_options & kMicroseconds)) state.set_timestamp(state.timestamp() & ~1U);
  set_tcp(fd, TCP_REPAIR_QUEUE, kSendQueue);
  const uint32_t fin = state.sent_fin() ? 1 : 0;
  std::string data = peek_unacknowledged(fd, state.sent_fin());
  const auto end = static_cast<uint32_t>(sys::get_int_option(fd, IPPROTO_TCP, TCP_QUEUE_SEQ));
  auto never = static_cast<uint32_t>(std::max(sys::bytes_never_sent(fd), 0));
  if (fin != 0 && never > 0) --never;
  state.set_never_sent(std::min<uint32_t>(never, static_cast<uint32_t>(data.size())));
  state.mutable_send()->set_sequence(end - fin - static_cast<uint32_t>(data.size()));
  state.mutable_send()->set_data(std::move(data));
}

void read_tcp_receiver(int fd, image::TcpSocket& state) {
  const OtherValue from_the_start(fd, SOL_SOCKET, kPeekOffset, -1);
  const int all = bytes_with_urgent(fd);
  const RepairMode repair(fd);
  const int now = tcp_state_of(fd);
  if (!is_connected_state(now)) throw Error(Fault::refused, "a connection ended while it was read", "dump again");
  state.set_state(now);  // the other end may have closed meanwhile
  state.set_received_fin(now == tcp::kCloseWait || now == tcp::kLastAck || now == tcp::kClosing);
  set_tcp(fd, TCP_REPAIR_QUEUE, kReceiveQueue);
  const auto end = static_cast<uint32_t>(sys::get_int_option(fd, IPPROTO_TCP, TCP_QUEUE_SEQ));
  const int waiting = sys::bytes_to_read(fd);
  std::string data = peek(fd, waiting);
  if (const auto most = static_cast<size_t>(std::max(all, waiting)); data.size() < most)
    throw Error(Fault::refused,
                fmt::format("only {} of {} bytes that wait in a connection can be read", data.size(), most),
                "it has urgent data: let the program read it before the dump");
  const uint32_t fin = state.received_fin() ? 1 : 0;
  state.mutable_receive()->set_sequence(end - fin - static_cast<uint32_t>(data.size()));
  state.mutable_receive()->set_data(std::move(data));
  if (const auto window = sys::try_get_option(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, sizeof(tcp_repair_window)))
    state.set_window(*window);
}

void make_tcp_connection(int fd, const image::TcpSocket& state) {
  set_tcp(fd, TCP_REPAIR, kOn);
  set_tcp(fd, TCP_REPAIR_QUEUE, kSendQueue);
  set_tcp(fd, TCP_QUEUE_SEQ, static_cast<int>(state.send().sequence()));
  set_tcp(fd, TCP_REPAIR_QUEUE, kReceiveQueue);
  set_tcp(fd, TCP_QUEUE_SEQ, static_cast<int>(state.receive().sequence()));
  set_tcp(fd, TCP_REPAIR_QUEUE, kNoQueue);
  sys::bind_socket(fd, state.local());
  sys::connect_socket(fd, state.remote());
  set_options(fd, state);
  set_tcp(fd, TCP_REPAIR_QUEUE, kReceiveQueue);
  put_data(fd, state.receive().data());
  set_tcp(fd, TCP_REPAIR_QUEUE, kSendQueue);
  const std::string_view send = state.send().data();
  put_data(fd, send.substr(0, send.size() - state.never_sent()));
  set_tcp(fd, TCP_REPAIR_QUEUE, kNoQueue);
  if (!state.window().empty()) set_window(fd, state);
}

void start_tcp_connection(int fd, const image::TcpSocket& state) {
  set_tcp(fd, TCP_REPAIR, kOff);
  const std::string_view send = state.send().data();
  put_data(fd, send.substr(send.size() - state.never_sent()));
}

void receive_tcp_end(int fd, const image::TcpSocket& state) {
  constexpr int kPatience = 2'000;  // ms; the loopback delivers at once, but under load perhaps later
  TcpSegment segment{state.remote(), state.local(), state.receive().sequence(), state.send().sequence(), 0};
  segment.sequence += static_cast<uint32_t>(state.receive().data().size());
  if (tcp_repair_window window{}; state.window().size() == sizeof window) {
    std::memcpy(&window, state.window().data(), sizeof window);
    segment.window = static_cast<uint16_t>(std::min(window.snd_wnd >> state.send_scale(), 0xffffU));
  }
  send_tcp_end(segment);
  const auto has_ended = [&] {
    const int now = tcp_state_of(fd);
    return now != tcp::kEstablished && now != tcp::kFinWait1 && now != tcp::kFinWait2;
  };
  for (int i = 0; i < kPatience && !has_ended(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  if (!has_ended()) throw Error(Fault::system, "the end that the other side had sent could not be put back");
}

ForcedBind::ForcedBind(int fd) : fd_(fd) {
  set_tcp(fd, TCP_REPAIR, kOn);
}
ForcedBind::~ForcedBind() {
  const auto put = [&](int level, int name, int value) {
    (void)sys::try_set_option(fd_, level, name, {reinterpret_cast<const char*>(&value), sizeof value});
  };
  put(IPPROTO_TCP, TCP_REPAIR, kOffWithoutProbe);
  put(SOL_SOCKET, SO_REUSEADDR, 1);  // repair mode has cleared it
}

bool silence_tcp_connection(int fd) {
  const int on = kOn;
  return sys::try_set_option(fd, IPPROTO_TCP, TCP_REPAIR, {reinterpret_cast<const char*>(&on), sizeof on}) == 0;
}

}  // namespace mcr::kinds
