// The kernel's pages in every process: vdso (code) and vvar (its data). Recorded at dump, moved to their old address at
// restore; where this kernel's vdso is another one, the old entry points jump to the new ones.
#pragma once

#include <string>
#include <vector>

#include "core/inject/new_process.h"
#include "core/procfs/maps.h"
#include "images/proto/inventory.pb.h"
#include "images/proto/mm.pb.h"

namespace mcr::mem {

struct VdsoSymbols {
  std::vector<std::pair<std::string, uint64_t>> entries;  // name, offset
  uint64_t image_bytes = 0;                               // without the zero padding at the end
};
// Bounded by `image`; throws Fault::image when it is no vdso.
VdsoSymbols parse_vdso(std::span<const std::byte> image);
mcr::image::Vdso record_vdso(std::span<const std::byte> image, uint64_t address);

// True when the running kernel's vdso (mapped in this process) is the recorded one.
bool is_same_vdso(const mcr::image::Vdso& recorded);

// True when the program had vvar and vdso in one block as this process has them; `ours`: this process' mappings.
bool has_same_layout(const std::vector<procfs::Mapping>& ours, const std::vector<mcr::image::Vma>& vmas);

// vvar and vdso among the mappings of a process; and where they are when the vdso is at this address instead.
std::vector<procfs::Mapping> kernel_pages_of(const std::vector<procfs::Mapping>& mappings);
std::vector<procfs::Mapping> moved_to(std::vector<procfs::Mapping> kernel_pages, uint64_t vdso);

// Puts vvar and vdso where the program had them; `ours`: where they are now. Returns the address where the live vdso is
// afterwards.
// `redirect`: the recorded one, or its layout, differs (or is to be treated so).
uint64_t place_vdso(inject::NewProcess& process, const std::vector<procfs::Mapping>& ours,
                    const std::vector<mcr::image::Vma>& vmas, const mcr::image::Vdso& recorded, bool redirect);
// After place_vdso with redirect: writes the old image, patched, to its old address.
void write_redirections(inject::NewProcess& process, const std::vector<mcr::image::Vma>& vmas,
                        const mcr::image::Vdso& recorded, uint64_t live);

// A `syscall` instruction in the live vdso.
RemoteAddr find_syscall_gadget(uint64_t live_vdso);

}  // namespace mcr::mem
