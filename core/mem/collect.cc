#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <bit>

#include "core/base/error.h"
#include "core/mem/address_space.h"
#include "core/mem/aio_ring.h"
#include "core/mem/foreign_memory.h"
#include "core/mem/sysv_segment.h"
#include "core/sys/memory_object.h"

namespace mcr::mem {
namespace {

using image::Vma;

bool is_special(const procfs::Mapping& m, Vma& vma) {
  if (m.path == "[vdso]") return vma.set_kind(Vma::VDSO), true;
  if (m.path == "[vvar]" || m.path == "[vvar_vclock]") return vma.set_kind(Vma::VVAR), true;
  return false;
}

void refuse_unsupported(const procfs::Mapping& m) {
  const auto refuse = [&](const char* what, const char* remedy) {
    throw Error(Fault::refused, fmt::format("mapping {:#x}-{:#x} {}: {}", m.start, m.end, m.path, what), remedy);
  };
  if (m.has_flag("um") || m.has_flag("uw") || m.has_flag("ui"))
    refuse(
        "it is watched by a userfaultfd, whose handler cannot be saved",
        "after restore --lazy-pages wait until mini-criu-lazy has brought all of it; else end the userfaultfd first; "
        "where mini-criu tracks its memory (--track-mem), dump it as the same user, in the "
        "same network namespace, and while mini-criu-watch is not stopped");
  if (m.has_flag("io") || m.has_flag("pf")) refuse("memory of a device cannot be saved", "close the device first");
  if (m.has_flag("ss")) refuse("shadow stacks are not supported yet", "run the program without them");
  refuse_foreign_memory(m);
}

bool is_anonymous_huge(const procfs::Mapping& m) {
  return m.deleted && m.path == "/anon_hugepage" && sys::is_kernel_memory(makedev(m.device_major, m.device_minor));
}

bool is_shared_anonymous(const procfs::Mapping& m) {
  if (!m.shared || m.inode == 0) return false;
  return (m.path == "/dev/zero" && m.deleted) || m.path.starts_with("[anon_shmem:") || is_anonymous_huge(m);
}

uint32_t huge_page_shift(const procfs::Mapping& m) {
  return m.has_flag("ht") ? static_cast<uint32_t>(std::countr_zero(m.kernel_page_bytes)) : 0;
}

uint32_t shared_object_of(const procfs::Mapping& m, AddressSpace& space, SharedObjects& shared) {
  bool is_new = false;
  const uint32_t id = shared.enter(makedev(m.device_major, m.device_minor), m.inode, is_new);
  if (is_new) space.shared.push_back({id, m.start, m.end, huge_page_shift(m)});
  return id;
}

void classify(const procfs::Mapping& m, const FileOf& file_of, AddressSpace& space, SharedObjects& shared, Vma& vma) {
  if (is_special(m, vma)) {
    if (vma.kind() == Vma::VDSO) space.vdso_address = m.start, space.vdso_size = m.size();
    if (vma.kind() == Vma::VVAR && space.vvar_address == 0) space.vvar_address = m.start;
    return;
  }
  if (is_ring(m)) {
    vma.set_kind(Vma::SHARED_FILE);
    vma.set_file(file_of(m, true));
    return;
  }
  refuse_unsupported(m);
  vma.set_huge_page_shift(huge_page_shift(m));
  if (is_aio_ring(m)) {
    vma.set_kind(Vma::AIO_RING);
  } else if (is_sysv_segment(m)) {
    vma.set_kind(Vma::SYSV_SEGMENT);
    vma.set_segment(static_cast<int32_t>(m.inode));
    file_of(m, m.shared && m.has_flag("mw"));
  } else if (is_anonymous_huge(m) && !m.shared) {
    vma.set_kind(Vma::PRIVATE_ANONYMOUS);
  } else if (is_shared_anonymous(m)) {
    vma.set_kind(Vma::SHARED_ANONYMOUS);
    vma.set_shared(shared_object_of(m, space, shared));
  } else if (m.inode != 0 && m.path.starts_with("/")) {
    vma.set_kind(m.shared ? Vma::SHARED_FILE : Vma::PRIVATE_FILE);
    // "mw": a shared mapping that may become writable was made from a descriptor open for writing.
    vma.set_file(file_of(m, m.shared && m.has_flag("mw")));
  } else if (m.shared) {
    throw Error(Fault::refused,
                fmt::format("mapping {:#x}-{:#x} {}: shared memory of an unknown kind", m.start, m.end, m.path));
  } else {
    vma.set_kind(Vma::PRIVATE_ANONYMOUS);
  }
}

// Not of any process' own memory.
bool is_outside(const procfs::Mapping& m) {
  return m.path == "[vsyscall]";
}

}  // namespace

// All of them, or it cannot be told which: then they are saved as ordinary pages.
bool is_lazily_freed(const Vma& vma, const procfs::Mapping& m) {
  return vma.kind() == Vma::PRIVATE_ANONYMOUS && m.lazy_free_kb != 0 && m.lazy_free_kb == m.anonymous_kb &&
         !m.has_flag("dp");
}

bool is_ring(const procfs::Mapping& m) {
  return m.shared && m.path == "anon_inode:[io_uring]";
}

void look_at_address_space(const std::vector<procfs::Mapping>& mappings, const FileOf& file_of, Obstacles& obstacles) {
  AddressSpace space;
  SharedObjects shared;
  Vma vma;
  for (const procfs::Mapping& m : mappings)
    if (!is_outside(m)) obstacles.pass([&] { classify(m, file_of, space, shared, vma); });
}

AddressSpace collect_address_space(const std::vector<procfs::Mapping>& mappings, const FileOf& file_of,
                                   SharedObjects& shared) {
  AddressSpace space;
  space.vmas.reserve(mappings.size());
  for (const procfs::Mapping& m : mappings) {
    if (is_outside(m)) continue;
    Vma vma;
    vma.set_start(m.start);
    vma.set_end(m.end);
    vma.set_prot(static_cast<uint32_t>(m.prot));
    vma.set_offset(m.offset);
    classify(m, file_of, space, shared, vma);
    if (m.path.starts_with("[")) vma.set_name(m.path);
    vma.mutable_vm_flags()->Reserve(static_cast<int>(m.vm_flags.size()));
    for (const std::string& flag : m.vm_flags) vma.add_vm_flags(flag);
    vma.set_protection_key(m.protection_key);
    vma.set_lazily_freed(is_lazily_freed(vma, m));
    space.vmas.push_back(std::move(vma));
  }
  return space;
}

}  // namespace mcr::mem
