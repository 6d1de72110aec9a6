// Open files of an image that no kernel could have had.
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>

#include <cstring>
#include <functional>
#include <optional>

#include "core/base/bounds.h"
#include "core/engine/engine.h"
#include "core/engine/image_check.h"
#include "core/sys/file.h"
#include "core/tree/process_image.h"
#include "images/format.h"
#include "images/proto/facets.pb.h"
#include "images/proto/fanotify.pb.h"
#include "images/proto/gpu.pb.h"
#include "images/proto/io_uring.pb.h"
#include "images/proto/ipc.pb.h"
#include "images/proto/sharing.pb.h"
#include "images/proto/terminals.pb.h"
#include "tests/unit/images_sample.h"
#include "tests/unit/restore_sample.h"

namespace mcr {
namespace {

using namespace restore_sample;

TEST(RestoreBadValues, FilesOfEvents) {
  using image::EventCounter, image::SignalFile, image::TimerFile;
  expect_object_refused<EventCounter>(
      "event_counter", [](auto& f) { f.set_value(UINT64_MAX); }, "object 5 event_counter: value cannot be");
  for (const int clock : {2, 3, 4, 10, 11, -6})
    expect_object_refused<TimerFile>(
        "timer_file", [&](auto& f) { f.set_clock(clock); }, fmt::format("clock cannot be {}", clock));
  const auto refuse = [](const std::function<void(TimerFile&)>& change, const std::string& expected) {
    expect_object_refused<TimerFile>("timer_file", change, expected);
  };
  refuse([](auto& f) { f.set_settime_flags(4); }, "settime_flags cannot be 4");
  refuse([](auto& f) { f.set_remaining_ns(-1); }, "remaining_ns cannot be -1");
  refuse([](auto& f) { f.set_remaining_ns(INT64_MAX); }, "remaining_ns cannot be");
  refuse([](auto& f) { f.set_interval_ns(INT64_MIN); }, "interval_ns cannot be");
  refuse([](auto& f) { f.set_ticks(UINT64_MAX); }, "ticks cannot be");
  refuse([](auto& f) { f.set_clock_ns(INT64_MAX); }, "clock_ns cannot be");
  refuse([](auto& f) { f.set_read_unix_ns(-5); }, "read_unix_ns cannot be -5");
  for (const char* kind :
       {"event_counter", "timer_file", "signal_file", "epoll", "pid_file", "inotify", "fanotify", "io_uring"})
    expect_refused([&](Sample& s) { s.add_object(5, kind, image::CharDevice()); }, "its record is unreadable");
}

TEST(RestoreBadValues, FilesAboutOthers) {
  using image::Epoll, image::Inotify, image::PidFile;
  const auto refuse_watch = [](const std::function<void(image::EpollWatch&)>& change, const std::string& expected) {
    expect_object_refused<Epoll>(
        "epoll",
        [&](auto& f) {
          f.add_watches()->set_target(1);
          change(*f.mutable_watches(0));
        },
        expected);
  };
  refuse_watch([](auto& w) { w.set_fd(-1); }, "fd cannot be -1");
  refuse_watch([](auto& w) { w.set_fd(1 << 30); }, "fd cannot be");
  refuse_watch([](auto& w) { w.set_target(5); }, "it watches itself");
  refuse_watch([](auto& w) { w.set_target(99); }, "there is no object 99");
  refuse_watch([](auto& w) { w.set_adder_pid(-1); }, "adder cannot be -1");
  expect_object_refused<Epoll>(
      "epoll", [](auto& f) { f.set_busy_poll_budget(1 << 16); }, "busy polling cannot be so");
  expect_object_refused<PidFile>(
      "pid_file", [](auto& f) { f.set_pid(-1); }, "pid cannot be -1");
  expect_object_refused<PidFile>(
      "pid_file", [](auto& f) { f.set_pid(1); }, "process 1 is not in the image");
  expect_object_refused<PidFile>(
      "pid_file", [](auto& f) { f.set_exit_status(1 << 16); }, "exit_status cannot be");
  const auto refuse_path = [](const std::function<void(image::InotifyWatch&)>& change, const std::string& expected) {
    expect_object_refused<Inotify>(
        "inotify",
        [&](auto& f) {
          auto& watch = *f.add_watches();
          watch.set_wd(1);
          watch.set_mask(2);
          watch.set_path("/");
          change(watch);
        },
        expected);
  };
  for (const int wd : {0, -1, (1 << 20) + 1}) refuse_path([&](auto& w) { w.set_wd(wd); }, "wd cannot be");
  for (const uint32_t mask : {0U, 0x20000002U, 0x80000000U})
    refuse_path([&](auto& w) { w.set_mask(mask); }, "mask cannot be");
  refuse_path([](auto& w) { w.set_path("relative"); }, "path of watch 1 cannot be so");
  refuse_path([](auto& w) { w.set_mode(S_IFREG); }, "and is not what it was");
}

void expect_pty_refused(const std::function<void(image::Pty&)>& change, const std::string& expected) {
  expect_refused(
      [&](Sample& s) {
        image::Pty& pty = s.ptys.emplace_back();
        pty.set_id(1), pty.set_index(900000), pty.set_ptmx("/dev/ptmx"), pty.set_folder("/dev/pts");
        pty.set_slave(image::Pty::OPEN);
        change(pty);
      },
      expected);
}

TEST(RestoreBadValues, Terminals) {
  using image::Pty, image::PtyEnd;
  expect_pty_refused([](Pty& p) { p.set_id(0); }, "its id cannot be 0");
  expect_pty_refused([](Pty& p) { p.set_ptmx("ptmx"); }, "a bad path");
  expect_pty_refused([](Pty& p) { p.set_folder("/dev/../pts"); }, "a bad path");
  expect_pty_refused([](Pty& p) { p.set_index(1 << 20); }, "index cannot be");
  expect_pty_refused([](Pty& p) { p.mutable_termios()->set_cc(std::string(20, 'c')); }, "too many control characters");
  expect_pty_refused([](Pty& p) { p.mutable_window()->set_rows(65536); }, "a window size of 65536");
  expect_pty_refused([](Pty& p) { p.set_mode(S_IFCHR); }, "mode cannot be");
  expect_pty_refused([](Pty& p) { p.set_session(-1); }, "process -1 cannot be");
  expect_pty_refused([](Pty& p) { p.set_slave(static_cast<Pty::Slave>(7)); }, "its slave can be in no such state");
  expect_pty_refused([](Pty& p) { p.set_output(std::string(5000, 'o')); }, "more waits in it than it holds");
  expect_pty_refused([](Pty& p) { p.add_lines("line"); }, "lines, but it is not canonical");
  expect_pty_refused(
      [](Pty& p) {
        p.set_slave(Pty::NEVER_OPENED);
        p.set_input("i");
      },
      "its slave was never opened");
  const auto refuse_end = [](const std::function<void(PtyEnd&)>& change, const std::string& expected) {
    expect_refused(
        [&](Sample& s) {
          PtyEnd end;
          end.set_path("/dev/pts/900000");
          change(end);
          s.add_object(5, "pty", end);
        },
        expected);
  };
  refuse_end([](auto& e) { e.set_path("tty"); }, "path cannot be so");
  refuse_end([](auto& e) { e.set_master(true); }, "a master without a terminal");
  refuse_end([](auto& e) { e.set_index(1 << 20); }, "index cannot be");
  refuse_end([](auto& e) { e.set_pty(9); }, "there is no terminal 9");
  expect_refused([](Sample& s) { s.add_object(5, "pty", image::CharDevice()); }, "its record is unreadable");
}

TEST(RestoreBadValues, FanotifyGroups) {
  using image::FanotifyGroup, image::FanotifyMark;
  const auto refuse = [](const std::function<void(FanotifyGroup&)>& change, const std::string& expected) {
    expect_object_refused<FanotifyGroup>("fanotify", change, expected);
  };
  refuse([](auto& g) { g.set_flags(1U << 15); }, "flags of a fanotify group cannot be 0x8000");
  refuse([](auto& g) { g.set_flags(0xc); }, "flags of a fanotify group cannot be 0xc");
  refuse([](auto& g) { g.set_event_flags(O_CREAT); }, "event_flags cannot be 0x40");
  refuse([](auto& g) { g.set_unprivileged(true), g.set_flags(0x10); }, "a group without rights cannot have");
  const auto refuse_mark = [&](const std::function<void(FanotifyMark&)>& change, const std::string& expected) {
    refuse(
        [&](auto& g) {
          FanotifyMark& mark = *g.add_marks();
          mark.set_kind(FanotifyMark::INODE);
          mark.set_mask(2);
          mark.set_path("/");
          mark.set_mode(S_IFDIR);
          change(mark);
        },
        expected);
  };
  refuse_mark([](auto& m) { m.set_kind(FanotifyMark::UNKNOWN); }, "kind of a mark cannot be 0");
  refuse_mark([](auto& m) { m.set_flags(1); }, "flags of a mark cannot be 0x1");
  for (const uint32_t mask : {0U, 0x10000U, 0x80000000U})
    refuse_mark([&](auto& m) { m.set_mask(mask); }, "mask of a mark cannot be");
  refuse_mark([](auto& m) { m.set_ignored_mask(0x40000); }, "mask of a mark cannot be");
  refuse_mark([](auto& m) { m.set_path("relative"); }, "path of a mark cannot be so");
  refuse_mark([](auto& m) { m.set_mode(S_IFREG); }, "is watched by the program (fanotify), and is not what it was");
  refuse_mark([](auto& m) { m.set_kind(FanotifyMark::MOUNT_NAMESPACE); },
              "a mark on a mount namespace has another path");
  refuse_mark([](auto& m) { m.set_kind(FanotifyMark::MOUNT), m.set_path("/proc/self"); },
              "and nothing is mounted there");
}

TEST(RestoreBadValues, RingsOfIoUring) {
  const auto set_word = [](image::IoUring& ring, size_t at, uint32_t value) {
    std::memcpy(ring.mutable_ring()->data() + at, &value, sizeof value);
  };
  const auto refuse = [&](const std::function<void(image::IoUring&)>& change, const std::string& expected) {
    image::IoUring ring;
    ring.set_flags(8), ring.set_sq_entries(8), ring.set_cq_entries(16);
    ring.set_ring(std::string(4096, '\0')), ring.set_entries(std::string(4096, '\0'));
    set_word(ring, 16, 7), set_word(ring, 20, 15), set_word(ring, 24, 8), set_word(ring, 28, 16);
    Sample good;
    good.add_object(5, "io_uring", ring);
    EXPECT_EQ(restore(good).find("of a ring cannot be so"), std::string::npos) << restore(good);
    change(ring);
    expect_refused([&](Sample& s) { s.add_object(5, "io_uring", ring); }, expected);
  };
  refuse([](auto& r) { r.set_flags(8 | 2); }, "the flags 0xa of a ring cannot be so");
  refuse([](auto& r) { r.set_flags(0); }, "the flags 0x0 of a ring cannot be so");
  for (const uint32_t entries : {0U, 3U, 1U << 16}) refuse([&](auto& r) { r.set_sq_entries(entries); }, "sq_entries");
  for (const uint32_t entries : {0U, 4U, 24U, 1U << 17})
    refuse([&](auto& r) { r.set_cq_entries(entries); }, "cq_entries");
  refuse([](auto& r) { r.set_taken(1); }, "position 1 of a ring cannot be so");
  refuse([](auto& r) { r.set_taken(1U << 31), r.set_completed(1U << 31); }, "position 2147483648");
  refuse([](auto& r) { r.set_flags(8 | 64), r.set_taken(1), r.set_completed(1); }, "position 1");
  refuse([](auto& r) { r.set_ring("short"); }, "the memory of a ring");
  refuse([](auto& r) { r.mutable_entries()->append("x"); }, "the memory of a ring");
  for (const size_t word : {0, 12, 16, 20, 24, 28, 36})
    refuse([&](auto& r) { set_word(r, word, 99); }, "the head of the memory of a ring");
  refuse([](auto& r) { r.add_buffers()->set_bytes(1ULL << 40); }, "a buffer of a ring");
  refuse([](auto& r) { r.add_buffers()->set_address(UINT64_MAX); }, "a buffer of a ring");
}

TEST(RestoreBadValues, Gpus) {
  const auto refuse = [](const std::function<void(image::GpuState&)>& change, const std::string& expected) {
    expect_refused(
        [&](Sample& s) {
          auto& gpu = s.gpu.emplace();
          gpu.add_devices()->set_uuid(std::string(16, 'u'));
          auto* process = gpu.add_processes();
          process->set_pid(kPid);
          process->set_restore_thread(kPid + 1);
          change(gpu);
        },
        expected);
  };
  refuse([](auto& gpu) { gpu.clear_devices(); }, "gpu.img: 0 devices");
  refuse([](auto& gpu) { gpu.mutable_devices(0)->set_uuid("short"); }, "a number of 5 bytes for a device");
  refuse([](auto& gpu) { gpu.mutable_processes(0)->set_pid(1); }, "there is no process 1");
  refuse([](auto&) {}, fmt::format("process {} has no thread {}", kPid, kPid + 1));
  refuse([](auto& gpu) { gpu.mutable_processes(0)->set_restore_thread(kPid); }, "has no thread");
}

}  // namespace
}  // namespace mcr
