#include "core/mem/neighbours.h"

#include <algorithm>
#include <string_view>

namespace mcr::mem {
namespace {

using image::Vma;

// What follows from the content of a mapping does not keep two apart: VM_MAYBE_GUARD, soft-dirty.
bool keeps_apart(std::string_view flag) {
  return flag != "gu" && flag != "sd";
}

// The kernel prints them in the order of their bits.
bool same_flags(const Vma& a, const Vma& b) {
  int i = 0, k = 0;
  for (;;) {
    while (i < a.vm_flags_size() && !keeps_apart(a.vm_flags(i))) ++i;
    while (k < b.vm_flags_size() && !keeps_apart(b.vm_flags(k))) ++k;
    if (i == a.vm_flags_size() || k == b.vm_flags_size()) return i == a.vm_flags_size() && k == b.vm_flags_size();
    if (a.vm_flags(i++) != b.vm_flags(k++)) return false;
  }
}

bool same_policy(const Vma& a, const Vma& b) {
  return a.has_policy() == b.has_policy() && a.policy().mode() == b.policy().mode() &&
         std::equal(a.policy().nodes().begin(), a.policy().nodes().end(), b.policy().nodes().begin(),
                    b.policy().nodes().end());
}

// [heap] and [stack] are no names of a mapping but say where it lies.
std::string_view given_name(const Vma& vma) {
  return std::string_view(vma.name()).starts_with("[anon:") ? std::string_view(vma.name()) : std::string_view();
}

}  // namespace

bool would_join(const Vma& a, const Vma& b) {
  if (a.end() != b.start() || a.kind() != b.kind() || a.prot() != b.prot()) return false;
  if (a.protection_key() != b.protection_key() || !same_flags(a, b) || !same_policy(a, b)) return false;
  if (a.huge_page_shift() != 0) return false;  // of one file each
  if (a.kind() == Vma::PRIVATE_ANONYMOUS) return given_name(a) == given_name(b);
  if (a.kind() != Vma::PRIVATE_FILE && a.kind() != Vma::SHARED_FILE) return false;
  return a.file() == b.file() && a.offset() + (a.end() - a.start()) == b.offset();
}

std::vector<Separation> find_separations(const std::vector<Vma>& vmas) {
  std::vector<Separation> separations(vmas.size());
  for (size_t i = 1; i < vmas.size(); ++i) {
    if (!would_join(vmas[i - 1], vmas[i])) continue;
    separations[i - 1].needed = separations[i].needed = true;
    separations[i].odd = !separations[i - 1].odd;
  }
  return separations;
}

}  // namespace mcr::mem
