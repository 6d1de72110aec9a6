#include "core/jobs/terminal.h"

#include <fmt/format.h>
#include <poll.h>

#include <cstring>

#include "core/base/error.h"
#include "core/jobs/local_socket.h"
#include "core/jobs/terminal_protocol.h"
#include "core/sys/child.h"
#include "core/sys/file.h"
#include "core/sys/hold.h"

namespace mcr::jobs {

using sys::Clock;

void wait_for_former_keeper(const JobFolder& job) {
  const UniqueFd lock = keeper_lock(job);
  const auto last = Clock::now() + std::chrono::seconds(5);
  while (!sys::try_hold(lock.get())) {
    if (Clock::now() > last)
      throw Error(Fault::refused, "the terminal of the program that has ended is still in use",
                  "end the processes that it has left behind");
    sys::wait_any_readable({}, 10);
  }
}

HostPid start_keeper(const JobFolder& job, int master) {
  const UniqueFd lock = keeper_lock(job);
  if (!sys::try_hold(lock.get())) throw Error(Fault::internal, "the job's terminal has a keeper already");
  const int kept[] = {master, lock.get()};
  return sys::start_child(kept, [&] { return keep_terminal(job, kept[0]); });
}

BorrowedMaster::BorrowedMaster(const JobFolder& job) {
  auto line = connect_in(job.path(), kTerminalSocket);
  char answer = 0;
  if (!line || !try_send_now(line->get(), {kBorrow}) || !sys::wait_readable(line->get(), kPatienceMs) ||
      !sys::try_receive_with_file(line->get(), &answer, 1, master_))
    throw Error(Fault::refused, fmt::format("nobody keeps the terminal of job {}", job.id()),
                "its keeper was killed; the program has been told that its terminal is gone (SIGHUP)");
  line_ = std::move(*line);
}

std::optional<AttachedTerminal> AttachedTerminal::open(const JobFolder& job) {
  auto line = connect_in(job.path(), kTerminalSocket);
  if (!line) return std::nullopt;
  return AttachedTerminal(*std::move(line));
}

bool AttachedTerminal::type(const std::string& bytes) {
  return try_send_now(line_.get(), kInput + bytes);
}

bool AttachedTerminal::set_window(const sys::WindowSize& size) {
  std::string message(1, kWindow);
  message.append(reinterpret_cast<const char*>(&size), sizeof size);
  return try_send_now(line_.get(), message);
}

bool AttachedTerminal::replay(uint64_t from) {
  std::string message(1, kReplay);
  message.append(reinterpret_cast<const char*>(&from), sizeof from);
  return try_send_now(line_.get(), message);
}

std::optional<std::string> AttachedTerminal::take_output() {
  std::string bytes(kMostTerminalBytes, '\0');
  try {
    const auto n = sys::receive_message(line_.get(), bytes.data(), bytes.size(), Clock::now());
    if (!n) return std::string();
    if (*n == 0) return std::nullopt;
    bytes.resize(*n);
    return bytes;
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace mcr::jobs
