// Images whose records are whole, but hold what no kernel could have had: a restore refuses each, says where, and has
// created nothing.
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
#include "images/proto/io_uring.pb.h"
#include "images/proto/ipc.pb.h"
#include "images/proto/sharing.pb.h"
#include "images/proto/terminals.pb.h"
#include "tests/unit/images_sample.h"

namespace mcr {
namespace {

using images::sample::error_of;
using images::sample::Folder;

constexpr int kPid = 4100001;  // above what a machine hands out by itself
constexpr char kAllRight[] = "nothing stood in the way";

// A whole image of one process with one of everything.
struct Sample {
  image::Inventory inventory;
  tree::ProcessImage process;
  std::optional<tree::ProcessImage> second;
  std::vector<image::FileObject> objects;
  image::Ghost ghost;
  image::PipeData pipe;
  std::vector<image::Pty> ptys;
  std::vector<image::SysvSemaphores> semaphores;
  std::vector<image::SysvQueue> queues;
  std::string pages = std::string(8192, 'p'), ghost_content = std::string(4096, 'g');

  Sample();
  void add_object(uint32_t id, const char* kind, const google::protobuf::Message& body);
  void write(const std::string& directory) const;
};

template <typename Run>
void add_checksum(Run& run, const std::string& content) {
  run.set_offset(images::kPageFileHeader);
  run.set_bytes(content.size());
  run.set_chunk_bytes(images::kChunkBytes);
  run.add_checksums(images::checksum_of(content.data(), content.size()));
}

void describe_machine(image::Inventory& inventory) {
  inventory.set_architecture("x86_64");
  inventory.set_page_size(4096);
  inventory.set_root_pid(kPid);
  inventory.add_pids(kPid);
}

Sample::Sample() {
  describe_machine(inventory);
  image::RegularFile folder, gone;
  folder.set_path("/");
  folder.set_mode(S_IFDIR | 0755);
  add_object(1, "regular_file", folder);
  gone.set_path("/tmp/gone");
  gone.set_mode(S_IFREG | 0600);
  gone.set_deleted(true);
  gone.set_ghost(1);
  add_object(2, "regular_file", gone);
  image::Pipe end;
  end.set_pipe(77);
  end.set_data(1);
  add_object(3, "pipe", end);
  image::CharDevice null;
  null.set_path("/dev/null");
  null.set_major(1);
  null.set_minor(3);
  add_object(4, "character_device", null);
  ghost.set_id(1);
  ghost.set_path("/tmp/gone");
  ghost.set_mode(S_IFREG | 0600);
  ghost.set_size(ghost_content.size());
  ghost.set_content_file("ghost-1.img");
  add_checksum(*ghost.add_extents(), ghost_content);
  pipe.set_id(1);
  pipe.set_pipe(77);
  pipe.set_capacity(65536);
  pipe.add_chunks("waiting");

  process.core.set_pid(kPid);
  process.core.set_pgid(kPid);
  process.core.set_sid(kPid);
  process.core.set_thread_count(1);
  auto& thread = process.threads.emplace_back();
  thread.set_tid(kPid);
  user_regs_struct registers{};
  registers.cs = 0x33, registers.ss = 0x2b, registers.rip = 0x400000;
  thread.set_registers(&registers, sizeof registers);
  thread.mutable_extended()->set_legacy(std::string(416, '\0'));
  thread.add_facets()->PackFrom(image::Credentials());
  process.fs.set_cwd_file(1);
  process.fs.set_root_file(1);
  process.map.set_exe_file(1);
  process.map.set_pages_file("pages-1.img");
  auto& vma = process.vmas.emplace_back();
  vma.set_start(0x400000);
  vma.set_end(0x402000);
  vma.set_prot(PROT_READ);
  auto& run = process.runs.emplace_back();
  run.set_start(0x400000);
  add_checksum(run, pages);
  for (const int fd : {3, 4, 5}) {
    auto& descriptor = process.descriptors.emplace_back();
    descriptor.set_fd(fd);
    descriptor.set_file(static_cast<uint32_t>(fd - 1));
  }
}

void Sample::add_object(uint32_t id, const char* kind, const google::protobuf::Message& body) {
  image::FileObject& object = objects.emplace_back();
  object.set_id(id);
  object.set_kind(kind);
  object.mutable_body()->PackFrom(body);
}

void Sample::write(const std::string& directory) const {
  images::ImageWriter writer(directory, false);
  for (const auto& [name, content] : {std::pair{"pages-1.img", &pages}, std::pair{"ghost-1.img", &ghost_content}}) {
    const UniqueFd fd = writer.pages(name);
    sys::pwrite_fully(fd.get(), content->data(), content->size(), images::kPageFileHeader);
    writer.add_pages(name, fd.get());
  }
  tree::ProcessImage whole = process;
  whole.map.set_vma_count(whole.vmas.size());
  whole.map.set_run_count(whole.runs.size());
  tree::write_process(whole, writer);
  if (second) tree::write_process(*second, writer);
  auto records = writer.records("files.img");
  records.append(ghost);
  records.append(pipe);
  for (const auto& pty : ptys) records.append(pty);
  for (const auto& object : objects) records.append(object);
  records.finish();
  writer.add(records);
  if (!semaphores.empty() || !queues.empty()) {
    auto ipc = writer.records("ipc.img");
    for (const auto& set : semaphores) ipc.append(set);
    for (const auto& queue : queues) ipc.append(queue);
    ipc.finish();
    writer.add(ipc);
  }
  writer.commit(inventory);
}

// What `verify` says to it.
std::string verify(const Sample& sample) {
  const Folder folder;
  sample.write(folder.path("image"));
  return error_of([&] { engine::verify_records(folder.path("image")); });
}

// What `restore` says to it. Before it would create anything it is stopped.
std::string restore(const Sample& sample) {
  const Folder folder;
  sample.write(folder.path("image"));
  engine::RestoreOptions options;
  options.images_dir = folder.path("image");
  options.validation = engine::FileValidation::none;
  options.hook = [](std::string_view, HostPid) { throw Error(Fault::usage, kAllRight); };
  Damage damage;
  return error_of([&] { engine::restore(options, damage); });
}

void expect_refused(const std::function<void(Sample&)>& change, const std::string& expected) {
  Sample sample;
  change(sample);
  const std::string text = restore(sample);
  EXPECT_NE(text.find(expected), std::string::npos) << "expected: " << expected << "\nsaid: " << text;
  EXPECT_EQ(text.find(kAllRight), std::string::npos) << expected;
  const bool is_of_host = text.find("in the way of this restore") != std::string::npos;
  if (!is_of_host) {
    EXPECT_NE(verify(sample), "") << expected;
  }
}

user_regs_struct registers_of(const Sample& sample) {
  user_regs_struct registers;
  std::memcpy(&registers, sample.process.threads[0].registers().data(), sizeof registers);
  return registers;
}

template <typename Change>
void expect_register_refused(Change change, const std::string& name) {
  expect_refused(
      [&](Sample& s) {
        user_regs_struct registers = registers_of(s);
        change(registers);
        s.process.threads[0].set_registers(&registers, sizeof registers);
      },
      "register " + name + " cannot be");
}

template <typename Body>
void expect_body_refused(size_t object, const std::function<void(Body&)>& change, const std::string& expected) {
  expect_refused(
      [&](Sample& s) {
        Body body;
        s.objects[object].body().UnpackTo(&body);
        change(body);
        s.objects[object].mutable_body()->PackFrom(body);
      },
      expected);
}

TEST(RestoreBadValues, TheSampleItselfIsGood) {
  EXPECT_NE(restore(Sample()).find(kAllRight), std::string::npos) << restore(Sample());
}

TEST(RestoreBadValues, ProcessAndThreadNumbers) {
  const std::string core = fmt::format("core-{}.img", kPid);
  expect_refused([](Sample& s) { s.process.threads[0].set_tid(7); }, core);
  expect_refused([](Sample& s) { s.process.core.set_thread_count(2); }, core);
  for (const int bad : {0, -1, -kPid, (1 << 22) + 1, INT32_MAX})
    expect_refused(
        [&](Sample& s) {
          s.process.threads.push_back(s.process.threads[0]);
          s.process.threads[1].set_tid(bad);
          s.process.core.set_thread_count(2);
        },
        fmt::format("{}: tid cannot be {}", core, bad));
  expect_refused(
      [](Sample& s) {
        s.process.threads.push_back(s.process.threads[0]);
        s.process.core.set_thread_count(2);
      },
      fmt::format("{}: two threads have tid {}", core, kPid));
  expect_refused([](Sample& s) { s.process.core.set_ppid(-3); }, core + ": ppid cannot be -3");
  expect_refused([](Sample& s) { s.process.core.set_stop_signal(65); }, core + ": stop_signal cannot be 65");
  expect_refused([](Sample& s) { s.process.core.set_personality(UINT32_MAX); }, core + ": personality");
}

TEST(RestoreBadValues, Registers) {
  expect_register_refused([](auto& r) { r.cs = 0x10; }, "cs");
  expect_register_refused([](auto& r) { r.cs = 0; }, "cs");
  expect_register_refused([](auto& r) { r.ss = 0x18; }, "ss");
  expect_register_refused([](auto& r) { r.fs = 1; }, "fs");
  expect_register_refused([](auto& r) { r.fs_base = 0x800000000000; }, "fs_base");
  expect_register_refused([](auto& r) { r.gs_base = UINT64_MAX; }, "gs_base");
  expect_register_refused([](auto& r) { r.rip = 0xffffffff81000000; }, "rip");
  expect_refused([](Sample& s) { s.process.threads[0].mutable_registers()->pop_back(); }, "registers of another kind");
  expect_refused([](Sample& s) { s.process.threads[0].mutable_extended()->mutable_legacy()->pop_back(); }, "thread");
  expect_refused(
      [](Sample& s) {
        auto* restart = s.process.threads[0].mutable_restart();
        restart->set_present(true);
        restart->set_number(SYS_poll);
        restart->set_remaining_ns(UINT64_MAX);
      },
      "remaining_ns cannot be");
}

TEST(RestoreBadValues, Mappings) {
  const std::string mm = fmt::format("mm-{}.img", kPid);
  const auto refuse = [&](const std::function<void(image::Vma&)>& change, const std::string& expected) {
    expect_refused([&](Sample& s) { change(s.process.vmas[0]); }, expected);
  };
  refuse([](auto& v) { v.set_start(0x402000); }, mm);
  refuse([](auto& v) { v.set_start(0x400001); }, mm);
  refuse([](auto& v) { v.set_end(bounds::kTaskSize + 4096); }, "it reaches into the kernel");
  refuse([](auto& v) { v.set_end(UINT64_MAX); }, mm);
  refuse([](auto& v) { v.set_prot(8); }, "prot cannot be 0x8");
  const auto refuse_without_pages = [&](const std::function<void(image::Vma&)>& change, const std::string& expected) {
    expect_refused([&](Sample& s) { change(s.process.vmas[0]), s.process.runs.clear(); }, expected);
  };
  refuse_without_pages([](auto& v) { v.set_kind(static_cast<image::Vma::Kind>(9)); }, "kind 9 is not known");
  refuse([](auto& v) { v.set_kind(image::Vma::PRIVATE_FILE); }, "it has no file");
  refuse([](auto& v) { v.set_file(9), v.set_kind(image::Vma::PRIVATE_FILE); }, "there is no object 9");
  refuse([](auto& v) { v.set_offset(UINT64_MAX - 4095); }, "offset cannot be");
  refuse_without_pages([](auto& v) { v.set_kind(image::Vma::SHARED_ANONYMOUS), v.set_shared(3); },
                       "there is no shared memory 3");
  expect_refused([](Sample& s) { s.process.vmas.push_back(s.process.vmas[0]); }, "overlaps the one before");
  expect_refused(
      [](Sample& s) {
        auto& vdso = s.process.vmas.emplace_back();
        vdso.set_kind(image::Vma::VDSO);
        vdso.set_start(0x10000000);
        vdso.set_end(0x7f0000000000);
      },
      "the vdso cannot have");
  for (int i = 0; i < 2; ++i)
    expect_refused(
        [&](Sample& s) {
          auto& object = s.process.shared.emplace_back();
          object.set_id(1);
          object.set_size(i == 0 ? UINT64_MAX - 4095 : 4096);
          if (i == 1) s.process.shared.push_back(object);
        },
        i == 0 ? "shared memory of an impossible size" : "shared memory 1 is described twice");
}

TEST(RestoreBadValues, MemoryMapFields) {
  expect_refused([](Sample& s) { s.process.map.set_start_brk(2), s.process.map.set_brk(1); }, "brk cannot be");
  expect_refused([](Sample& s) { s.process.map.set_arg_end(UINT64_MAX); }, "arg cannot be");
  expect_refused([](Sample& s) { s.process.map.set_start_stack(1ULL << 63); }, "start_stack cannot be");
  expect_refused([](Sample& s) { s.process.map.set_auxv(std::string(1 << 20, 'a')); }, "auxv's size cannot be 1048576");
  expect_refused([](Sample& s) { s.process.map.set_exe_file(99); }, "there is no object 99");
}

TEST(RestoreBadValues, NamesOfFilesOfTheImage) {
  for (const char* name : {"", "../pages-1.img", "/etc/passwd", "pages-2.img", ".."})
    expect_refused([&](Sample& s) { s.process.map.set_pages_file(name); }, "pages_file: the inventory lists no");
  for (const char* name : {"", "../ghost-1.img", "/etc/passwd"})
    expect_refused([&](Sample& s) { s.ghost.set_content_file(name); }, "deleted file 1: the inventory lists no");
}

TEST(RestoreBadValues, RunsOfPages) {
  const auto refuse = [](const std::function<void(image::PageRun&)>& change, const std::string& expected) {
    expect_refused([&](Sample& s) { change(s.process.runs[0]); }, expected);
  };
  refuse([](auto& r) { r.set_offset(0); }, "it lies outside of its file");
  refuse([](auto& r) { r.set_offset(8192); }, "it lies outside of its file");
  refuse([](auto& r) { r.set_offset(UINT64_MAX - 4095); }, "it lies outside of its file");
  refuse([](auto& r) { r.set_bytes(1 << 20); }, "lies outside of all mappings");
  refuse([](auto& r) { r.set_bytes(UINT64_MAX - 4095); }, "is too large");
  refuse([](auto& r) { r.set_start(0x402000); }, "lies outside of all mappings");
  for (const auto kind : {image::Vma::SHARED_FILE, image::Vma::SHARED_ANONYMOUS, image::Vma::SYSV_SEGMENT})
    expect_refused([&](Sample& s) { s.process.vmas[0].set_kind(kind); }, "in a mapping that is not private");
  refuse([](auto& r) { r.set_chunk_bytes(0); }, "chunk_bytes cannot be so");
  refuse([](auto& r) { r.set_chunk_bytes(512); }, "chunk_bytes cannot be so");
  refuse([](auto& r) { r.set_chunk_bytes(4096); }, "checksums are missing");
  refuse([](auto& r) { r.set_shared(5); }, "lies outside of its shared memory");
  expect_refused(
      [](Sample& s) {
        s.process.runs[0].set_bytes(4096);
        s.process.runs.push_back(s.process.runs[0]);
        s.process.runs[1].set_start(0x401000);
      },
      "share the bytes at 4096 of pages-1.img");
}

TEST(RestoreBadValues, SystemVSemaphoresAndQueues) {
  const auto refuse_set = [](const std::function<void(image::SysvSemaphores&)>& change, const std::string& expected) {
    expect_refused(
        [&](Sample& s) {
          auto& set = s.semaphores.emplace_back();
          set.add_values(1), set.add_last_users(kPid);
          change(set);
        },
        "ipc.img: System V semaphores " + expected);
  };
  refuse_set([](auto& s) { s.mutable_object()->set_id(-1); }, "-1: its id cannot be negative");
  refuse_set([](auto& s) { s.mutable_object()->set_mode(01000); }, "0: mode cannot be 1000");
  refuse_set([](auto& s) { s.clear_values(); }, "0: it cannot have 0 semaphores");
  refuse_set([](auto& s) { s.add_values(1); }, "0: it cannot have 2 semaphores");
  refuse_set([](auto& s) { s.set_values(0, 32768); }, "0: a value cannot be 32768");
  const auto refuse_queue = [](const std::function<void(image::SysvQueue&)>& change, const std::string& expected) {
    expect_refused(
        [&](Sample& s) {
          auto& queue = s.queues.emplace_back();
          queue.add_messages()->set_type(1);
          change(queue);
        },
        "ipc.img: System V message queue 0: " + expected);
  };
  refuse_queue([](auto& q) { q.set_capacity(UINT64_MAX); }, "capacity cannot be");
  refuse_queue([](auto& q) { q.mutable_messages(0)->set_type(0); }, "a message in it is none");
  refuse_queue([](auto& q) { q.mutable_messages(0)->set_text(std::string((16 << 20) + 1, 'x')); },
               "a message in it is none");
}

TEST(RestoreBadValues, BytesThatNobodyNeeds) {
  expect_refused([](Sample& s) { s.pages += std::string(4096, 'x'); }, "pages-1.img at offset 12288");
  expect_refused([](Sample& s) { s.ghost_content += "x"; }, "ghost-1.img at offset 8192");
}

// An object of a kind that the sample has none of.
template <typename Body>
void expect_object_refused(const char* kind, const std::function<void(Body&)>& change, const std::string& expected) {
  Body body;
  Sample good;
  good.add_object(5, kind, body);
  EXPECT_NE(restore(good).find(kAllRight), std::string::npos) << restore(good);
  change(body);
  expect_refused([&](Sample& s) { s.add_object(5, kind, body); }, expected);
}

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

TEST(RestoreBadValues, Paths) {
  using image::CharDevice, image::Pipe, image::RegularFile;
  const std::string zero("/tmp/a\0b", 8), deep = "/" + std::string(300, 'n'), longest(5000, '/');
  for (const std::string& path :
       {std::string(), std::string("tmp/x"), std::string("../x"), std::string("/tmp/../etc/x"), std::string("/tmp/./x"),
        std::string("/tmp//x"), std::string("/tmp/"), zero, deep, longest}) {
    expect_body_refused<RegularFile>(
        0, [&](auto& f) { f.set_path(path); }, "files.img: object 1: path cannot be");
    expect_body_refused<CharDevice>(
        3, [&](auto& f) { f.set_path(path); }, "files.img: object 4: path cannot be");
    expect_refused([&](Sample& s) { s.ghost.set_path(path); }, "files.img: deleted file 1: path cannot be");
    if (path.empty()) continue;
    expect_body_refused<Pipe>(
        2, [&](auto& f) { f.set_fifo_path(path); }, "files.img: object 3: path cannot be");
    expect_refused([&](Sample& s) { s.pipe.set_fifo_path(path); }, "files.img: pipe content 1: path cannot be");
  }
  expect_refused([](Sample& s) { s.ghost.set_path("/"); }, "deleted file 1: path cannot be");
}

TEST(RestoreBadValues, FilesThatAreNone) {
  using image::CharDevice, image::RegularFile;
  for (const uint32_t mode : {0u, S_IFIFO | 0600u, S_IFCHR | 0600u, S_IFSOCK | 0600u})
    expect_body_refused<RegularFile>(
        0, [&](auto& f) { f.set_mode(mode); }, "object 1: mode cannot be");
  expect_refused([](Sample& s) { s.ghost.set_mode(0); }, "deleted file 1: mode cannot be");
  expect_refused([](Sample& s) { s.ghost.set_mode(S_IFDIR); }, "deleted file 1: content of what has none");
  expect_body_refused<CharDevice>(
      3, [](auto& d) { d.set_minor(1); }, "is device 1:1, none that is ever saved");
  expect_refused([](Sample& s) { s.objects[0].set_id(0); }, "its id cannot be 0");
  expect_refused([](Sample& s) { s.objects[3].set_id(1); }, "object 1 is described twice");
  expect_refused([](Sample& s) { s.objects[1].set_offset(-1); }, "object 2: offset cannot be -1");
  expect_refused([](Sample& s) { s.objects[1].set_owner_signal(65); }, "object 2: owner_signal cannot be 65");
  expect_refused([](Sample& s) { s.objects[1].set_owner_type(3); }, "object 2: owner_type cannot be 3");
  const auto lock = [](image::FileLock& l, const char* kind, uint64_t start, uint64_t bytes) {
    l.set_kind(kind), l.set_start(start), l.set_bytes(bytes);
  };
  expect_refused([&](Sample& s) { lock(*s.objects[1].add_locks(), "posix", 0, 0); }, "object 2: a lock of kind");
  expect_refused([&](Sample& s) { lock(*s.objects[1].add_locks(), "\x1b", 0, 0); }, "object 2: a lock of kind \"?\"");
  expect_refused([&](Sample& s) { lock(*s.objects[1].add_locks(), "open_file", INT64_MAX, 2); },
                 "object 2: a lock of 2");
  expect_refused([&](Sample& s) { lock(*s.process.descriptors[0].add_locks(), "flock", 0, 0); }, "a lock of kind");
  expect_refused([](Sample& s) { s.objects[1].set_kind("socketpair of nothing"); }, "is not known to this version");
}

TEST(RestoreBadValues, DeletedFiles) {
  expect_refused([](Sample& s) { s.ghost.set_size(UINT64_MAX); }, "deleted file 1: size cannot be");
  expect_refused([](Sample& s) { s.ghost.set_size(1); }, "it overlaps another, or the end of the file");
  const auto refuse = [](const std::function<void(image::GhostExtent&)>& change, const std::string& expected) {
    expect_refused([&](Sample& s) { change(*s.ghost.mutable_extents(0)); }, expected);
  };
  refuse([](auto& e) { e.set_bytes(0); }, "it overlaps another, or the end of the file");
  refuse([](auto& e) { e.set_bytes(UINT64_MAX); }, "it overlaps another, or the end of the file");
  refuse([](auto& e) { e.set_file_offset(UINT64_MAX - 100); }, "it overlaps another, or the end of the file");
  refuse([](auto& e) { e.set_offset(0); }, "its content overlaps another's, or the end of its file");
  refuse([](auto& e) { e.set_offset(UINT64_MAX); }, "its content overlaps another's, or the end of its file");
  refuse([](auto& e) { e.set_chunk_bytes(0); }, "chunk_bytes cannot be so");
  refuse([](auto& e) { e.set_chunk_bytes(UINT32_MAX); }, "chunk_bytes cannot be so");
  refuse([](auto& e) { e.clear_checksums(); }, "checksums are missing");
  // A file of 8 KiB out of an image of 4 KiB: the same content twice.
  expect_refused(
      [](Sample& s) {
        s.ghost.set_size(1 << 20);
        *s.ghost.add_extents() = s.ghost.extents(0);
        s.ghost.mutable_extents(1)->set_file_offset(8192);
      },
      "its content overlaps another's");
}

TEST(RestoreBadValues, Pipes) {
  expect_refused([](Sample& s) { s.pipe.set_capacity(0); }, "pipe content 1: capacity cannot be 0");
  expect_refused([](Sample& s) { s.pipe.set_capacity(UINT32_MAX); }, "pipe content 1: capacity cannot be");
  expect_refused([](Sample& s) { s.pipe.add_chunks(std::string(65536, 'x')); }, "65543 bytes in a pipe for 65536");
  expect_refused([](Sample& s) { s.pipe.set_packets(true), s.pipe.add_chunks(std::string(4097, 'x')); }, "a packet of");
}

TEST(RestoreBadValues, Descriptors) {
  const std::string fdinfo = fmt::format("fdinfo-{}.img", kPid);
  expect_refused([](Sample& s) { s.process.descriptors[0].set_fd(-1); }, fdinfo);
  expect_refused([](Sample& s) { s.process.descriptors[0].set_fd(INT32_MAX); }, fdinfo);
  expect_refused([](Sample& s) { s.process.descriptors[0].set_fd(4); }, fdinfo + ": descriptor 4 is described twice");
  expect_refused([](Sample& s) { s.process.descriptors[0].set_file(44); }, "there is no object 44");
  expect_refused([](Sample& s) { s.process.descriptors[0].set_fd((1 << 30) - 1); }, "the limit of open files");
  expect_refused([](Sample& s) { s.process.fs.set_umask(01000); }, "umask cannot be 512");
}

constexpr int kSecond = kPid + 1;

// A child of the sample's process that shares with it what the message says.
void add_sharer(Sample& sample, const image::SharedTables& shared) {
  sample.second = sample.process;
  sample.second->core.set_pid(kSecond), sample.second->core.set_ppid(kPid);
  sample.second->threads[0].set_tid(kSecond);
  sample.second->shared_with = {shared.memory(), shared.handlers(), shared.descriptors(), shared.directories()};
  sample.inventory.add_pids(kSecond);
}

void expect_sharing_refused(const std::function<void(image::SharedTables&)>& change, const std::string& expected) {
  expect_refused(
      [&](Sample& s) {
        image::SharedTables shared;
        change(shared);
        add_sharer(s, shared);
      },
      expected);
}

TEST(RestoreBadValues, SharedTables) {
  const std::string core = fmt::format("core-{}.img", kSecond);
  Sample good;
  image::SharedTables all;
  all.set_memory(kPid), all.set_handlers(kPid), all.set_descriptors(kPid), all.set_directories(kPid);
  add_sharer(good, all);
  EXPECT_NE(restore(good).find(kAllRight), std::string::npos) << restore(good);
  for (const int other : {kSecond, kPid + 2, -1, -kPid, INT32_MIN}) {
    const auto refuse = [&](const std::string& what, const std::function<void(image::SharedTables&)>& change) {
      expect_sharing_refused(change, fmt::format("{}: it cannot share {} with process {}", core, what, other));
    };
    refuse("memory", [&](auto& t) { t.set_memory(other); });
    refuse("descriptors", [&](auto& t) { t.set_descriptors(other); });
    refuse("a working directory", [&](auto& t) { t.set_directories(other); });
    refuse("signal handlers", [&](auto& t) { t.set_memory(kPid), t.set_handlers(other); });
  }
  expect_sharing_refused([](auto& t) { t.set_handlers(kPid); }, "but no memory");
  expect_refused(
      [&](Sample& s) {
        add_sharer(s, all);
        s.second->core.add_facets()->PackFrom(all);
      },
      "more than once");
  // The first one cannot share with a later one.
  expect_refused([&](Sample& s) { s.process.core.add_facets()->PackFrom(all); }, "it cannot share memory with process");
}

TEST(RestoreBadValues, Inventory) {
  expect_refused([](Sample& s) { s.inventory.clear_pids(); }, "the image holds no process");
  expect_refused([](Sample& s) { s.inventory.set_pids(0, -5); }, "core--5.img");
  expect_refused([](Sample& s) { s.inventory.add_pids(kPid); }, "is there twice");
  expect_refused([](Sample& s) { s.inventory.mutable_vdso()->set_content(std::string(2 << 20, 'v')); }, "a vdso of");
  expect_refused(
      [](Sample& s) {
        s.inventory.mutable_vdso()->set_content(std::string(8192, 'v'));
        s.inventory.mutable_vdso()->add_symbols()->set_offset(UINT64_MAX - 10);
      },
      "lies outside of it");
}

}  // namespace
}  // namespace mcr
