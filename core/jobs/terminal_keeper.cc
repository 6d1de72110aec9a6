// The process that has the other end of a job's terminal.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/base/error.h"
#include "core/jobs/local_socket.h"
#include "core/jobs/output_log.h"
#include "core/jobs/terminal_protocol.h"
#include "core/sys/child.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/sys/supervise.h"
#include "core/sys/terminal.h"

namespace mcr::jobs {
namespace {

constexpr int kBacklog = 16;
constexpr size_t kMostClients = 32, kMostPending = 1 << 16, kPiece = 64;
constexpr int kForEver = -1, kTurnMs = 20, kHungUpMs = 100;

class Keeper {
 public:
  Keeper(const JobFolder& job, int master)
      : folder_(job.path()),
        log_path_(job.output()),
        master_(master),
        log_(open_output(job)),
        listener_(listen_in(job.path(), kTerminalSocket, kBacklog)) {}
  ~Keeper() { remove_socket(folder_, kTerminalSocket); }
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  void run() {
    while (!has_ended_) {
      wait();
      if (clients_.size() < kMostClients && sys::poll_now(listener_.get(), POLLIN) != 0)
        if (auto line = accept_ours(listener_.get())) clients_.push_back({std::move(*line)});
      std::erase_if(clients_, [&](Client& client) { return !hear(client); });
      if (!is_lent()) read_output();
      type_pending();
    }
  }

 private:
  struct Client {
    UniqueFd line;
    bool attached = false, has_window = false, borrows = false;
  };

  bool is_lent() const { return std::ranges::any_of(clients_, &Client::borrows); }

  void wait() {
    std::vector<int> watched = {listener_.get()};
    for (const Client& client : clients_) watched.push_back(client.line.get());
    if (!is_lent() && !is_hung_up_) watched.push_back(master_);
    sys::wait_any_readable(watched, !pending_.empty() ? kTurnMs : is_hung_up_ ? kHungUpMs : kForEver);
  }

  // False: it has hung up, or says what nobody understands.
  bool hear(Client& client) {
    if (sys::poll_now(client.line.get(), POLLIN) == 0) return true;
    std::string bytes(kMostTerminalBytes, '\0');
    try {
      const auto n = sys::receive_message(client.line.get(), bytes.data(), bytes.size(), sys::Clock::now());
      if (!n) return true;
      bytes.resize(*n);
      return !bytes.empty() && obey(client, bytes);
    } catch (const Error&) {
      return false;
    }
  }

  bool obey(Client& client, const std::string& bytes) {
    if (bytes[0] == kInput) {
      // More than a program will ever read at once is not typed.
      if (pending_.size() + bytes.size() <= kMostPending) pending_ += bytes.substr(1);
      return true;
    }
    if (bytes[0] == kWindow && bytes.size() == 1 + sizeof(sys::WindowSize)) {
      sys::WindowSize size;
      std::memcpy(&size, bytes.data() + 1, sizeof size);
      set_window(size, !client.has_window);
      client.attached = client.has_window = true;
      return true;
    }
    if (bytes[0] == kReplay && bytes.size() == 1 + sizeof(uint64_t)) {
      uint64_t from = 0;
      std::memcpy(&from, bytes.data() + 1, sizeof from);
      client.attached = true;
      return replay(client, from);
    }
    if (bytes[0] != kBorrow) return false;
    client.borrows = true;
    sys::send_message(client.line.get(), &kBorrow, 1, std::span(&master_, 1));
    return true;
  }

  // Nothing is read meanwhile, so that it goes on where the log ends.
  bool replay(const Client& client, uint64_t from) {
    const UniqueFd log = sys::open(log_path_, O_RDONLY | O_NOFOLLOW);
    std::string bytes(4096, '\0');
    while (const size_t n = sys::pread_some(log.get(), bytes.data(), bytes.size(), from)) {
      if (!try_send_now(client.line.get(), bytes.substr(0, n))) return false;
      from += n;
    }
    return true;
  }

  // The kernel tells the foreground group (SIGWINCH) of a size that is another one; who is new wants all to be drawn.
  void set_window(const sys::WindowSize& size, bool is_new) {
    if (size.rows == 0 || size.columns == 0) return;
    const sys::WindowSize now = sys::get_window_size(master_);
    if (is_new && now.rows == size.rows && now.columns == size.columns) {
      sys::WindowSize other = size;
      other.rows = static_cast<uint16_t>(size.rows > 1 ? size.rows - 1 : size.rows + 1);
      sys::set_window_size(master_, other);
    }
    sys::set_window_size(master_, size);
  }

  void read_output() {
    if (sys::poll_now(master_, POLLIN) == 0) {  // a read would wait
      is_hung_up_ = false;
      return;
    }
    char bytes[4096];
    const auto n = sys::try_read_master(master_, bytes, sizeof bytes);
    // A program may have closed all of its descriptors and open its terminal again: as long as that is its session's.
    is_hung_up_ = !n || *n == 0;
    has_ended_ = is_hung_up_ && sys::session_of_terminal(master_) == 0;
    if (is_hung_up_) return;
    write_log(bytes, *n);
    // One who does not read would hold up the program: it is hung up on.
    std::erase_if(clients_, [&](const Client& client) {
      return client.attached && !try_send_now(client.line.get(), std::string(bytes, *n));
    });
  }

  void write_log(const char* bytes, size_t n) {
    try {
      sys::write_fully(log_.get(), bytes, n);
    } catch (const Error&) {  // a full disk: those who are attached see it all the same
    }
  }

  // In pieces that there is room for, so that a program that does not read holds up nobody.
  void type_pending() {
    while (!pending_.empty() && (sys::poll_now(master_, POLLOUT) & POLLOUT) && !is_lent()) {
      const size_t n = std::min(kPiece, pending_.size());
      sys::write_fully(master_, pending_.data(), n);
      pending_.erase(0, n);
    }
  }

  const std::string folder_, log_path_;
  const int master_;
  UniqueFd log_, listener_;
  std::vector<Client> clients_;
  std::string pending_;
  bool is_hung_up_ = false, has_ended_ = false;
};

}  // namespace

UniqueFd keeper_lock(const JobFolder& job) {
  return sys::open(job.file("terminal.lock"), O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
}

int keep_terminal(const JobFolder& job, int master) {
  // Signals that a terminal sends are not for it, nor is the end of those who have started it.
  const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2};
  const UniqueFd signals = sys::receive_signals(ignored);
  sys::leave_session();
  try {
    Keeper(job, master).run();
    return 0;
  } catch (const std::exception& error) {
    job.note(std::string("the keeper of the terminal ends: ") + error.what());
    return 1;
  }
}

}  // namespace mcr::jobs
