#include "tests/unit/restore_sample.h"

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

namespace mcr::restore_sample {
namespace {

using images::sample::error_of;
using images::sample::Folder;

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

}  // namespace

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
  if (gpu) {
    auto gpus = writer.records("gpu.img");
    gpus.append(*gpu);
    gpus.finish();
    writer.add(gpus);
  }
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
  options.when_checked = [] { throw Error(Fault::usage, kAllRight); };
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

}  // namespace mcr::restore_sample
