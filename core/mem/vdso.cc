#include "core/mem/vdso.h"

#include <elf.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/mem/address_space.h"
#include "core/sys/failure.h"
#include "core/sys/process.h"
#include "core/trace/remote_memory.h"

namespace mcr::mem {
namespace {

using image::Vma;

constexpr size_t kMostName = 128;  // of a symbol; those of the kernel have some 30 bytes
constexpr size_t kJumpBytes = 12;  // movabs $target, %rax; jmp *%rax

template <typename T>
T at(std::span<const std::byte> image, uint64_t offset) {
  if (offset > image.size() || sizeof(T) > image.size() - offset)
    throw Error(Fault::image, "the vdso is cut short or damaged");
  T value;
  std::memcpy(&value, image.data() + offset, sizeof value);
  return value;
}

std::span<const std::byte> live_image() {
  const auto address = sys::vdso_address();
  if (!address) throw Error(Fault::refused, "this process has no vdso", "boot the kernel without vdso=0");
  const auto* start = reinterpret_cast<const std::byte*>(*address);
  const auto header = reinterpret_cast<const Elf64_Ehdr*>(start);
  const uint64_t bytes = header->e_shoff + static_cast<uint64_t>(header->e_shnum) * header->e_shentsize;
  return {start, (bytes + 4095) / 4096 * 4096};
}

bool is_kernel_page(const procfs::Mapping& m) {
  return m.path == "[vdso]" || m.path.starts_with("[vvar");
}

uint64_t total_bytes(const std::vector<procfs::Mapping>& pages) {
  return pages.back().end - pages.front().start;
}

void move_pages(inject::NewProcess& process, const std::vector<procfs::Mapping>& pages, uint64_t from, uint64_t to) {
  inject::Batch batch = process.channel().batch();
  for (const auto& m : pages) {
    const uint64_t offset = m.start - pages.front().start;
    batch.try_add("mremap", SYS_mremap,
                  {from + offset, m.size(), m.size(), MREMAP_MAYMOVE | MREMAP_FIXED, to + offset});
  }
  process.channel().run(batch);
  for (size_t i = 0; i < pages.size(); ++i) {
    const int64_t result = batch.result(i);
    if (result == -EPERM)
      throw Error(Fault::refused, "this kernel has sealed its vdso (CONFIG_MSEAL_SYSTEM_MAPPINGS): it cannot be moved",
                  "restore on a kernel without that setting");
    if (result < 0 && result >= -4095) sys::throw_code(static_cast<int>(-result), "mremap " + pages[i].path);
  }
}

}  // namespace

VdsoSymbols parse_vdso(std::span<const std::byte> image) {
  const auto header = at<Elf64_Ehdr>(image, 0);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) throw Error(Fault::image, "the vdso is no ELF image");
  VdsoSymbols symbols;
  const uint64_t sections = static_cast<uint64_t>(header.e_shnum) * header.e_shentsize;
  if (header.e_shoff > image.size() || sections > image.size() - header.e_shoff)
    throw Error(Fault::image, "the vdso is cut short");
  if (header.e_shnum != 0 && header.e_shentsize != sizeof(Elf64_Shdr))
    throw Error(Fault::image, fmt::format("the vdso has sections of {} bytes", header.e_shentsize));
  symbols.image_bytes = header.e_shoff + sections;
  for (unsigned i = 0; i < header.e_shnum && symbols.entries.empty(); ++i) {  // there is one table of symbols
    const auto section = at<Elf64_Shdr>(image, header.e_shoff + i * uint64_t{header.e_shentsize});
    if (section.sh_type != SHT_DYNSYM) continue;
    const auto strings = at<Elf64_Shdr>(image, header.e_shoff + section.sh_link * uint64_t{header.e_shentsize});
    for (uint64_t k = 0; k < section.sh_size / sizeof(Elf64_Sym); ++k) {
      const auto symbol = at<Elf64_Sym>(image, section.sh_offset + k * sizeof(Elf64_Sym));
      if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC) continue;
      const uint64_t name = strings.sh_offset + symbol.st_name;
      if (name >= image.size()) throw Error(Fault::image, "the vdso is damaged");
      const auto* text = reinterpret_cast<const char*>(image.data() + name);
      const size_t length = ::strnlen(text, std::min(image.size() - name, kMostName + 1));
      if (length > kMostName) throw Error(Fault::image, "the vdso has a symbol with a name that never ends");
      symbols.entries.emplace_back(std::string(text, length), symbol.st_value);
    }
  }
  return symbols;
}

image::Vdso record_vdso(std::span<const std::byte> bytes, uint64_t address) {
  image::Vdso vdso;
  vdso.set_content(bytes.data(), bytes.size());
  vdso.set_address(address);
  vdso.set_size(bytes.size());
  for (const auto& [name, offset] : parse_vdso(bytes).entries) {
    auto* symbol = vdso.add_symbols();
    symbol->set_name(name);
    symbol->set_offset(offset);
  }
  return vdso;
}

// Compared without the padding, which may still hold bytes of an interrupted dump.
bool is_same_vdso(const image::Vdso& recorded) {
  const auto ours = live_image();
  const auto theirs = std::as_bytes(std::span(recorded.content()));
  const uint64_t bytes = parse_vdso(ours).image_bytes;
  return theirs.size() >= bytes && std::memcmp(ours.data(), theirs.data(), bytes) == 0;
}

bool has_same_layout(const std::vector<procfs::Mapping>& ours, const std::vector<Vma>& vmas) {
  uint64_t start = 0, code = 0, bytes = 0, our_start = 0, our_code = 0, our_bytes = 0;
  for (const auto& m : ours) {
    if (!is_kernel_page(m)) continue;
    if (our_bytes == 0) our_start = m.start;
    if (m.path == "[vdso]") our_code = m.start - our_start;
    our_bytes = m.end - our_start;
  }
  for (const Vma& vma : vmas) {
    if (vma.kind() != Vma::VDSO && vma.kind() != Vma::VVAR) continue;
    if (bytes == 0) start = vma.start();
    if (vma.kind() == Vma::VDSO) code = vma.start() - start;
    bytes = vma.end() - start;
  }
  return bytes == 0 || (bytes == our_bytes && code == our_code);
}

std::vector<procfs::Mapping> kernel_pages_of(const std::vector<procfs::Mapping>& mappings) {
  std::vector<procfs::Mapping> pages;
  std::ranges::copy_if(mappings, std::back_inserter(pages), is_kernel_page);
  return pages;
}

std::vector<procfs::Mapping> moved_to(std::vector<procfs::Mapping> kernel_pages, uint64_t vdso) {
  const auto code = std::ranges::find(kernel_pages, "[vdso]", &procfs::Mapping::path);
  if (code == kernel_pages.end()) return kernel_pages;
  const uint64_t distance = vdso - code->start;  // modulo 2^64, either way
  for (auto& m : kernel_pages) m.start += distance, m.end += distance;
  return kernel_pages;
}

uint64_t place_vdso(inject::NewProcess& process, const std::vector<procfs::Mapping>& ours, const std::vector<Vma>& vmas,
                    const image::Vdso& recorded, bool redirect) {
  const Step step("place the vdso");
  const std::vector<procfs::Mapping> pages = kernel_pages_of(ours);
  if (pages.empty()) throw Error(Fault::refused, "this process has no vdso");
  const uint64_t now = pages.front().start, bytes = total_bytes(pages);
  uint64_t vdso_offset = 0;
  for (const auto& m : pages)
    if (m.path == "[vdso]") vdso_offset = m.start - now;

  uint64_t wanted = 0, wanted_bytes = 0;
  for (const Vma& vma : vmas) {
    if (vma.kind() != Vma::VDSO && vma.kind() != Vma::VVAR) continue;
    if (wanted == 0) wanted = vma.start();
    wanted_bytes = vma.end() - wanted;
  }
  if (!redirect && wanted_bytes != bytes && wanted != 0)
    throw Error(Fault::internal, "the same vdso with another layout");
  // When it is the same: to where the program wants it. Piece by piece, so not over itself.
  const bool stays = !redirect && wanted != 0;
  if (stays && wanted == now) return wanted + vdso_offset;
  if (stays && (wanted + bytes <= now || now + bytes <= wanted)) {
    move_pages(process, pages, now, wanted);
    return wanted + vdso_offset;
  }
  // Out of the way of everything that the program wants, at least for a moment.
  std::vector<procfs::Mapping> occupied = pages;
  procfs::Mapping blob;
  blob.start = process.region_start();
  blob.end = process.region_end();
  occupied.push_back(blob);
  const uint64_t aside = find_hole(occupied, vmas, bytes);
  move_pages(process, pages, now, aside);
  if (redirect || wanted == 0) {
    log::info("mem", "vdso of this kernel stays at {:#x}, {} old entry points lead there", aside,
              recorded.symbols_size());
    return aside + vdso_offset;
  }
  move_pages(process, pages, aside, wanted);
  return wanted + vdso_offset;
}

void write_redirections(inject::NewProcess& process, const std::vector<Vma>& vmas, const image::Vdso& recorded,
                        uint64_t live) {
  const Step step("redirect the old vdso");
  const auto symbols = parse_vdso(live_image());
  inject::Batch batch = process.channel().batch();
  uint64_t start = 0, bytes = 0;
  for (const Vma& vma : vmas) {
    // The old data pages stay reserved: only code that is never entered any more would read them.
    if (vma.kind() == Vma::VVAR)
      batch.add("mmap", SYS_mmap,
                {vma.start(), vma.end() - vma.start(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ~0ULL, 0});
    if (vma.kind() != Vma::VDSO) continue;
    start = vma.start(), bytes = vma.end() - vma.start();
    batch.add("mmap", SYS_mmap,
              {start, bytes, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ~0ULL, 0});
  }
  if (bytes == 0) return;
  process.channel().run(batch);
  std::string image = recorded.content().substr(0, bytes);
  image.resize(bytes);
  for (const auto& old : recorded.symbols()) {
    const auto found = std::find_if(symbols.entries.begin(), symbols.entries.end(),
                                    [&](const auto& e) { return e.first == old.name(); });
    if (found == symbols.entries.end())
      throw Error(Fault::refused, fmt::format("this kernel's vdso has no {}", old.name()),
                  "restore on a kernel that has it");
    if (old.offset() > bytes || bytes - old.offset() < kJumpBytes)
      throw Error(Fault::image, "a vdso symbol lies outside of the vdso");
    const uint64_t target = live + found->second;
    const unsigned char jump[kJumpBytes] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0};
    std::memcpy(image.data() + old.offset(), jump, sizeof jump);
    std::memcpy(image.data() + old.offset() + 2, &target, sizeof target);
  }
  trace::RemoteMemory(process.pid()).write(RemoteAddr(start), std::as_bytes(std::span(image)));
}

RemoteAddr find_syscall_gadget(uint64_t live_vdso) {
  const auto image = live_image();
  for (size_t i = 0; i + 1 < image.size(); ++i)
    if (image[i] == std::byte{0x0f} && image[i + 1] == std::byte{0x05}) return RemoteAddr(live_vdso + i);
  throw Error(Fault::refused, "this kernel's vdso holds no system call instruction");
}

}  // namespace mcr::mem
