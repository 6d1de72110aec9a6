#include "core/mem/protection_keys.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>

#include "core/base/error.h"

namespace mcr::mem {

using image::Vma;

uint32_t execute_only_key(const image::MemoryMap& map, const std::vector<Vma>& vmas) {
  for (const Vma& vma : vmas)
    if (vma.protection_key() != 0 && vma.prot() == PROT_EXEC && !(map.protection_keys() >> vma.protection_key() & 1))
      return static_cast<uint32_t>(vma.protection_key());
  return 0;
}

bool uses_protection_keys(const image::MemoryMap& map, const std::vector<Vma>& vmas) {
  return map.protection_keys() > 1 ||
         std::any_of(vmas.begin(), vmas.end(), [](const Vma& vma) { return vma.protection_key() != 0; });
}

// A new process has key 0 alone, and the kernel gives the lowest free one. What this does to the rights of the calling
// thread (PKRU) is undone with its registers.
void take_protection_keys(inject::NewProcess& process, uint32_t execute_only) {
  const Step step("protection keys");
  inject::Batch batch = process.channel().batch();
  for (uint32_t key = 1; key < kProtectionKeys; ++key) batch.add("pkey_alloc", SYS_pkey_alloc, {0, 0});
  if (execute_only != 0) batch.add("pkey_free", SYS_pkey_free, {execute_only});
  process.channel().run(batch);
  for (uint32_t key = 1; key < kProtectionKeys; ++key)
    if (batch.result(key - 1) != key)
      throw Error(Fault::internal, fmt::format("pkey_alloc gave key {} instead of {}", batch.result(key - 1), key));
}

void release_protection_keys(inject::NewProcess& process, uint32_t given, uint32_t execute_only) {
  const Step step("protection keys");
  inject::Batch batch = process.channel().batch();
  for (uint32_t key = 1; key < kProtectionKeys; ++key)
    if (!(given >> key & 1) && key != execute_only) batch.add("pkey_free", SYS_pkey_free, {key});
  process.channel().run(batch);
}

}  // namespace mcr::mem
