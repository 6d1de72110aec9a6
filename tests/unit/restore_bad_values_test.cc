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
#include "tests/unit/restore_sample.h"

namespace mcr {
namespace {

using namespace restore_sample;

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
  refuse([](auto& r) { r.set_chunk_bytes(0); }, "it has impossible chunk_bytes");
  refuse([](auto& r) { r.set_chunk_bytes(512); }, "it has impossible chunk_bytes");
  refuse([](auto& r) { r.set_chunk_bytes(4096); }, "it has 1 of 2 checksums");
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
