#include <sys/mman.h>

#include "core/base/error.h"
#include "core/mem/address_space.h"

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
  if (m.has_flag("ht")) refuse("huge pages of hugetlbfs are not supported yet", "use transparent huge pages");
  if (m.has_flag("um") || m.has_flag("uw") || m.has_flag("ui"))
    refuse("it is watched by a userfaultfd, whose handler cannot be saved", "end the userfaultfd first");
  if (m.has_flag("io") || m.has_flag("pf")) refuse("memory of a device cannot be saved", "close the device first");
  if (m.has_flag("ss")) refuse("shadow stacks are not supported yet", "run the program without them");
  if (m.path.starts_with("/memfd:")) refuse("memfd memory is not supported yet", "use a file or anonymous memory");
  if (m.path.starts_with("/SYSV")) refuse("System V shared memory is not supported yet", "use mmap() instead");
  if (m.path.starts_with("anon_inode:") || m.path.starts_with("socket:"))
    refuse("this kind of memory is not supported yet", "close it before the dump");
  if (m.path.starts_with("/secretmem")) refuse("memfd_secret memory cannot be read by anybody", "unmap it before");
}

bool is_shared_anonymous(const procfs::Mapping& m) {
  return m.shared && m.inode != 0 && ((m.path == "/dev/zero" && m.deleted) || m.path.starts_with("[anon_shmem:"));
}

uint32_t shared_object_of(const procfs::Mapping& m, AddressSpace& space) {
  for (const SharedObject& object : space.shared)
    if (object.inode == m.inode) return object.id;
  const auto id = static_cast<uint32_t>(space.shared.size() + 1);
  space.shared.push_back({id, m.inode, m.start, m.end});
  return id;
}

void classify(const procfs::Mapping& m, const FileOf& file_of, AddressSpace& space, Vma& vma) {
  if (is_special(m, vma)) {
    if (vma.kind() == Vma::VDSO) space.vdso_address = m.start, space.vdso_size = m.size();
    if (vma.kind() == Vma::VVAR && space.vvar_address == 0) space.vvar_address = m.start;
    return;
  }
  refuse_unsupported(m);
  if (is_shared_anonymous(m)) {
    vma.set_kind(Vma::SHARED_ANONYMOUS);
    vma.set_shared(shared_object_of(m, space));
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

}  // namespace

AddressSpace collect_address_space(const std::vector<procfs::Mapping>& mappings, const FileOf& file_of) {
  AddressSpace space;
  space.vmas.reserve(mappings.size());
  for (const procfs::Mapping& m : mappings) {
    if (m.path == "[vsyscall]") continue;  // outside of any process' own memory
    Vma vma;
    vma.set_start(m.start);
    vma.set_end(m.end);
    vma.set_prot(static_cast<uint32_t>(m.prot));
    vma.set_offset(m.offset);
    classify(m, file_of, space, vma);
    if (m.path.starts_with("[")) vma.set_name(m.path);
    for (const std::string& flag : m.vm_flags) vma.add_vm_flags(flag);
    vma.set_protection_key(m.protection_key);
    // All of them, or it cannot be told which: then they are saved as ordinary pages.
    vma.set_lazily_freed(vma.kind() == Vma::PRIVATE_ANONYMOUS && m.lazy_free_kb != 0 &&
                         m.lazy_free_kb == m.anonymous_kb && !m.has_flag("dp"));
    space.vmas.push_back(std::move(vma));
  }
  return space;
}

}  // namespace mcr::mem
