#include "tools/attach.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <sstream>

#include "core/base/error.h"
#include "core/jobs/supervisor.h"
#include "core/jobs/terminal.h"
#include "core/sys/child.h"
#include "core/sys/file.h"
#include "core/sys/stream.h"
#include "core/sys/supervise.h"
#include "core/sys/terminal.h"
#include "tools/job_follow.h"
#include "tools/settings.h"

namespace mcr::cli {
namespace {

constexpr int kLookMs = 50;

// Every key as it is; what it was comes back, whatever becomes of us but SIGKILL.
class RawTerminal {
 public:
  RawTerminal() {
    if (!sys::is_terminal(STDIN_FILENO)) return;
    before_ = sys::get_termios(STDIN_FILENO);
    sys::set_termios(STDIN_FILENO, sys::raw(*before_));
  }
  ~RawTerminal() {
    if (!before_) return;
    try {
      sys::set_termios(STDIN_FILENO, *before_);
    } catch (const Error&) {  // hung up
    }
  }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  std::optional<sys::Termios> before_;
};

sys::WindowSize window() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO})
    if (sys::is_terminal(fd)) return sys::get_window_size(fd);
  return {};
}

class Attachment {
 public:
  Attachment(const jobs::JobFolder& job, const Seat& seat)
      : job_(job), keys_(seat.keys), from_(seat.from), passes_(seat.signals >= 0), signals_(seat.signals) {
    constexpr int kTaken[] = {SIGWINCH, SIGTERM, SIGHUP, SIGINT, SIGQUIT};
    if (passes_) return;
    own_ = sys::receive_signals(kTaken);
    signals_ = own_.get();
  }

  // One terminal after the other: each start and each resume of the program brings a new one.
  AttachEnd run() {
    while (!is_over()) {
      const job::State state = jobs::settled_state(job_);
      if (auto line = jobs::AttachedTerminal::open(job_)) {
        serve(*line);
      } else {
        if (!job_.has_supervisor() && !jobs::wants_supervisor(state)) {
          if (from_) LogPrinter(job_, *from_).print_new();  // it was quicker than we
          return AttachEnd::job_ended;
        }
        sys::wait_any_readable({}, kLookMs);
        take_signals(nullptr);
      }
    }
    return AttachEnd::left;
  }
  int ended_by() const { return is_unread_ ? SIGPIPE : ended_by_; }  // a signal that was for us; 0: none

 private:
  bool is_over() const { return keys_.has_left() || is_unread_ || ended_by_ != 0; }

  void serve(jobs::AttachedTerminal& line) {
    if (from_ && line.replay(*from_)) from_.reset();
    line.set_window(window());
    for (bool is_there = true; is_there && !is_over();) {
      const std::array watched = {line.descriptor(), signals_, STDIN_FILENO};
      sys::wait_any_readable(std::span(watched.data(), has_input_ ? 3U : 2U), -1);
      take_signals(&line);
      is_there = show(line) && type(line);
    }
  }

  void take_signals(jobs::AttachedTerminal* line) {
    while (const auto signal = sys::next_signal(signals_)) {
      if (signal->number == SIGWINCH) {
        if (line) line->set_window(window());
      } else if (passes_ && signal->number != SIGHUP) {
        pass_signal(job_, signal->number);
      } else {
        ended_by_ = signal->number;
      }
    }
  }

  bool show(jobs::AttachedTerminal& line) {
    while (sys::poll_now(line.descriptor(), POLLIN) != 0) {
      const auto output = line.take_output();
      if (!output) return false;
      try {
        sys::write_stream(STDOUT_FILENO, output->data(), output->size());
      } catch (const Error&) {
        is_unread_ = true;
        return true;
      }
    }
    return true;
  }

  bool type(jobs::AttachedTerminal& line) {
    if (!has_input_ || sys::poll_now(STDIN_FILENO, POLLIN) == 0) return true;
    std::string bytes(1024, '\0');
    bytes.resize(sys::read_some(STDIN_FILENO, bytes.data(), bytes.size()));
    has_input_ = !bytes.empty();
    const std::string typed = keys_.pass(bytes);
    return typed.empty() || line.type(typed);
  }

  const jobs::JobFolder& job_;
  KeyWatch keys_;
  std::optional<uint64_t> from_;
  const bool passes_;
  int signals_;
  UniqueFd own_;
  int ended_by_ = 0;
  bool has_input_ = true, is_unread_ = false;
};

}  // namespace

std::string parse_keys(const std::string& option, const std::string& text) {
  constexpr std::string_view kControl = "ctrl-";
  std::string keys;
  std::istringstream all(text);
  for (std::string key; std::getline(all, key, ',');) {
    const bool is_control = key.starts_with(kControl) && key.size() == kControl.size() + 1;
    const char last = key.empty() ? '\0' : key.back();
    const bool may_be_control = (last >= 'a' && last <= 'z') || (last >= '@' && last <= '_');
    if (is_control ? !may_be_control : key.size() != 1)
      usage(fmt::format("--{}: \"{}\" is no key", option, key), "give them as ctrl-p,ctrl-q or as letters: a,b");
    keys += is_control ? static_cast<char>(last & 0x1f) : last;
  }
  if (keys.empty()) usage(fmt::format("--{}: no key is named", option), "the default is ctrl-p,ctrl-q");
  return keys;
}

std::string KeyWatch::pass(const std::string& typed) {
  std::string passed;
  for (const char key : typed) {
    if (left_) break;
    if (key != keys_[matched_] && matched_ > 0) {
      passed += keys_.substr(0, matched_);
      matched_ = 0;
    }
    if (key == keys_[matched_])
      left_ = ++matched_ == keys_.size();
    else
      passed += key;
  }
  return passed;
}

AttachEnd attach(const jobs::JobFolder& job, const Seat& seat) {
  AttachEnd end{};
  int ended_by = 0;
  {
    const RawTerminal raw;
    Attachment attachment(job, seat);
    end = attachment.run();
    ended_by = attachment.ended_by();
  }
  if (ended_by != 0) sys::end_by_signal(ended_by);
  return end;
}

}  // namespace mcr::cli
