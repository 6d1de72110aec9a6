// What waits in a terminal is read and still there afterwards, and can be put into another one.
#include <gtest/gtest.h>

#include <asm/termbits.h>
#include <fcntl.h>
#include <poll.h>

#include "core/base/error.h"
#include "core/kinds/pty_queues.h"
#include "core/sys/file.h"

namespace mcr::kinds {
namespace {

using namespace std::string_literals;

struct Terminal {
  UniqueFd master = sys::open("/dev/ptmx", O_RDWR | O_NOCTTY), slave;
  Terminal() {
    sys::set_pty_lock(master.get(), false);
    slave = *sys::try_open_peer(master.get(), O_RDWR);
  }
  void set(uint32_t iflag, uint32_t oflag, uint32_t lflag) {
    sys::Termios termios = sys::get_termios(master.get());
    termios.iflag = iflag, termios.oflag = oflag, termios.lflag = lflag;
    sys::set_termios(master.get(), termios);
  }
  void type(const std::string& text) { sys::write_fully(master.get(), text.data(), text.size()); }
  void print(const std::string& text) { sys::write_fully(slave.get(), text.data(), text.size()); }
  // What is not there when it is looked for may be under way.
  void await_output(int bytes) {
    for (int turn = 0; turn < 2000 && sys::bytes_readable(master.get()) < bytes; ++turn) ::poll(nullptr, 0, 1);
  }
};

void expect_same(const PtyQueues& a, const PtyQueues& b) {
  EXPECT_EQ(a.output, b.output);
  EXPECT_EQ(a.lines, b.lines);
  EXPECT_EQ(a.input, b.input);
}

// Three looks at one terminal, and one at another that was filled with it.
PtyQueues read_often(Terminal& terminal) {
  const sys::Termios termios = sys::get_termios(terminal.master.get());
  require_readable(terminal.master.get(), terminal.slave.get(), termios);
  const PtyQueues first = read_queues(terminal.master.get(), terminal.slave.get());
  expect_same(first, read_queues(terminal.master.get(), terminal.slave.get()));
  Terminal other;
  fill_queues(other.master.get(), other.slave.get(), termios, first);
  expect_same(first, read_queues(other.master.get(), other.slave.get()));
  const sys::Termios after = sys::get_termios(terminal.master.get()), of_other = sys::get_termios(other.master.get());
  EXPECT_EQ(after.cc, termios.cc);
  EXPECT_EQ(after.lflag, termios.lflag);
  EXPECT_EQ(of_other.lflag, termios.lflag);
  EXPECT_EQ(of_other.iflag, termios.iflag);
  return first;
}

TEST(PtyQueues, NothingWaits) {
  Terminal terminal;
  const PtyQueues queues = read_often(terminal);
  EXPECT_TRUE(queues.output.empty() && queues.lines.empty() && queues.input.empty());
}

TEST(PtyQueues, RawBytesBothWays) {
  Terminal terminal;
  terminal.set(0, 0, 0);
  std::string up, down;
  for (int i = 0; i < 4000; ++i) up += static_cast<char>(i), down += static_cast<char>(i * 3);
  terminal.print(up), terminal.type(down);
  terminal.await_output(4000);
  ::poll(nullptr, 0, 50);
  const PtyQueues queues = read_often(terminal);
  EXPECT_EQ(queues.output, up);
  EXPECT_EQ(queues.input, down);
}

TEST(PtyQueues, CanonicalLines) {
  Terminal terminal;
  terminal.set(ICRNL | IXON, OPOST | ONLCR, ICANON | IEXTEN | ISIG);
  terminal.type("a\rb\x16\nc\nd\x04\x04\x16\x04\x16\x16\x16\x15\0\xff\nopen\x16\n"s);
  terminal.print("out\n");
  terminal.await_output(5);
  ::poll(nullptr, 0, 50);
  const PtyQueues queues = read_often(terminal);
  EXPECT_EQ(queues.output, "out\r\n");
  EXPECT_EQ(queues.lines, (std::vector<std::string>{"a\n", "b\nc\n", "d", "", "\x04\x16\x15\0\xff\n"s}));
  EXPECT_EQ(queues.input, "open\n");
}

TEST(PtyQueues, OnlyAnIncompleteLineWithEcho) {
  Terminal terminal;
  terminal.type("half");
  terminal.await_output(4);
  sys::read_some(terminal.master.get(), std::string(10, 0).data(), 10);
  const PtyQueues queues = read_often(terminal);
  EXPECT_EQ(queues.output, "");
  EXPECT_TRUE(queues.lines.empty());
  EXPECT_EQ(queues.input, "half");
}

TEST(PtyQueues, OnlyEndsOfFile) {
  Terminal terminal;
  terminal.type("\x04\x04");
  ::poll(nullptr, 0, 50);
  EXPECT_EQ(read_often(terminal).lines, (std::vector<std::string>{"", ""}));
}

TEST(PtyQueues, StoppedOutputIsRefused) {
  Terminal terminal;
  terminal.type("\x13");
  ::poll(nullptr, 0, 50);
  EXPECT_THROW(require_readable(terminal.master.get(), terminal.slave.get(), sys::get_termios(terminal.master.get())),
               Error);
}

}  // namespace
}  // namespace mcr::kinds
