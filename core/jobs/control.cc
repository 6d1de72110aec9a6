#include "core/jobs/control.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/jobs/local_socket.h"
#include "core/sys/file.h"

namespace mcr::jobs {
namespace {

constexpr size_t kMostBytes = 1 << 16;
constexpr size_t kMostConnections = 64;
constexpr char kName[] = "control";

bool send_all(int socket, const google::protobuf::Message& message) {
  return try_send_now(socket, message.SerializeAsString());
}

}  // namespace

ControlServer::ControlServer(const JobFolder& job) : folder_(job.path()) {
  const Step step("the control socket of job {}", job.id());
  listener_ = listen_in(folder_, kName, static_cast<int>(kMostConnections));
}

ControlServer::~ControlServer() {
  remove_socket(folder_, kName);
}

std::vector<int> ControlServer::descriptors() const {
  std::vector<int> all;
  if (connections_.size() < kMostConnections) all.push_back(listener_.get());
  for (const Connection& connection : connections_) all.push_back(connection.socket.get());
  return all;
}

void ControlServer::accept_all() {
  while (connections_.size() < kMostConnections && sys::poll_now(listener_.get(), 1) != 0) {
    auto connection = accept_ours(listener_.get());
    if (!connection) return;
    connections_.push_back({next_id_++, *std::move(connection)});
  }
}

std::vector<ControlServer::Asked> ControlServer::take_requests() {
  accept_all();
  std::vector<Asked> asked;
  std::erase_if(connections_, [&](const Connection& connection) {
    if (sys::poll_now(connection.socket.get(), 1) == 0) return false;
    std::string bytes(kMostBytes, '\0');
    try {
      const auto n = sys::receive_message(connection.socket.get(), bytes.data(), bytes.size(), sys::Clock::now());
      if (!n) return false;
      bytes.resize(*n);
    } catch (const Error&) {
      return true;
    }
    Asked one{connection.id, {}};
    if (bytes.empty() || !one.request.ParseFromString(bytes)) return true;
    asked.push_back(std::move(one));
    return false;
  });
  return asked;
}

void ControlServer::answer(uint64_t connection, const job::Answer& answer) {
  const auto found = std::ranges::find(connections_, connection, &Connection::id);
  if (found == connections_.end()) return;  // it has hung up
  send_all(found->socket.get(), answer);
  connections_.erase(found);
}

std::optional<ControlLine> ControlLine::open(const JobFolder& job) {
  auto socket = connect_in(job.path(), kName);
  if (!socket) return std::nullopt;
  return ControlLine(*std::move(socket));
}

bool ControlLine::ask(const job::Request& request) {
  return send_all(socket_.get(), request);
}

std::optional<job::Answer> ControlLine::wait(const sys::Deadline& deadline) {
  std::string bytes(kMostBytes, '\0');
  const auto last = deadline.value_or(sys::Clock::now() + std::chrono::hours(24 * 3650));
  for (;;) {
    // poll(2) counts milliseconds in an int.
    const auto until = std::min(last, sys::Clock::now() + std::chrono::hours(24));
    const auto n = sys::receive_message(socket_.get(), bytes.data(), bytes.size(), until);
    if (!n && until == last) return std::nullopt;
    if (!n) continue;
    job::Answer answer;
    ended_ = *n == 0 || !answer.ParseFromArray(bytes.data(), static_cast<int>(*n));
    if (ended_) return std::nullopt;
    return answer;
  }
}

}  // namespace mcr::jobs
