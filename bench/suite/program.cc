#include "bench/suite/program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>
#include <thread>

namespace bench {
namespace {

using namespace std::chrono_literals;

template <typename Condition>
bool wait_until(Clock::duration limit, Condition condition) {
  const auto give_up = Clock::now() + limit;
  while (!condition()) {
    if (Clock::now() > give_up) return false;
    std::this_thread::sleep_for(100us);
  }
  return true;
}

// The complete line of that number. Other programs (launchers, interpreters) may write lines too: an answer begins with
// its round.
std::string answer_in(const std::string& text, unsigned round) {
  std::istringstream lines(text);
  const std::string start = std::to_string(round) + " ";
  for (std::string line; std::getline(lines, line) && !lines.eof();)
    if (line.starts_with(start)) return line;
  return "";
}

std::string last_line_of(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

}  // namespace

Program::Program(const Engine& engine, const Place& place, const Words& command, std::chrono::seconds limit)
    : streams_{place.file("questions"), place.file("answers")}, limit_(limit) {
  if (mkfifo(streams_.input.c_str(), 0600) != 0) throw Failure("cannot make a FIFO in " + place.folder);
  const auto began = Clock::now();
  target_.pid = start(engine.launch(place, command), streams_, true,
                      {{"MCR_BENCH_QUESTIONS", streams_.input}, {"MCR_BENCH_ANSWERS", streams_.output}});
  next_answer();
  start_milliseconds_ = milliseconds_since(began);
}

bool Program::is_alive() const {
  siginfo_t info{};
  return waitid(P_PID, static_cast<id_t>(target_.pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

uint64_t Program::next_answer() {
  std::string line;
  const bool came = wait_until(limit_, [&] {
    const bool alive = is_alive();  // before the look, which then finds what was written before the end
    line = answer_in(read_text(streams_.output), round_);
    return !line.empty() || !alive;
  });
  if (line.empty()) {
    const std::string last = last_line_of(read_text(streams_.output));
    if (came) throw Failure("the program has ended: " + last, round_ > 0);
    throw Failure("the program does not answer; it said last: " + last);
  }
  std::istringstream words(line);
  unsigned round = 0;
  uint64_t value = 0;
  std::string secret;
  words >> round >> value >> secret;
  if (!words) throw Failure("the program says: " + line, round_ > 0);
  if (round_ == 0) secret_ = secret;
  if (secret != secret_) throw Failure("the program has lost its secret", true);
  ++round_;
  return value;
}

// The FIFO is held until the answer is there, so that no question is lost with the last of its ends; and not in
// between: an end of it outside of the program would be none of the program's state.
uint64_t Program::ask() {
  const int fifo = open(streams_.input.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fifo < 0 || write(fifo, "?", 1) != 1) throw Failure("cannot write to " + streams_.input);
  try {
    const uint64_t value = next_answer();
    close(fifo);
    return value;
  } catch (...) {
    close(fifo);
    throw;
  }
}

void Program::note_moment() {
  moment_round_ = round_;
  moment_size_ = std::filesystem::file_size(streams_.output);
}

void Program::back_to_moment() {
  round_ = moment_round_;
  std::filesystem::resize_file(streams_.output, moment_size_);
}

double Program::collect() {
  const std::vector<pid_t> tree = tree_of(target_.pid);
  double used = 0;
  const bool all = wait_until(10s, [&] {
    used += collect_ended();
    for (const pid_t pid : tree)
      if (kill(pid, 0) == 0) return false;
    return true;
  });
  if (!all) throw Failure("a process of the program lives on after the dump");
  return used;
}

}  // namespace bench
