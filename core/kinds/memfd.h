// Memory made by memfd_create(2): descriptors and mappings of one memfd are files of one Ghost, which has its content.
#pragma once

#include "core/base/unique_fd.h"
#include "images/proto/files.pb.h"

namespace mcr::kinds {

UniqueFd make_memfd(const mcr::image::Ghost& ghost);  // of its size, empty, without seals
// F_SEAL_FUTURE_WRITE leaves mappings writable that were there before it: such a memfd is sealed when all is mapped.
// With F_SEAL_WRITE there are none, and mappings made after it are different from those made before.
bool is_sealed_late(const mcr::image::Ghost& ghost);
void seal_memfd(int fd, const mcr::image::Ghost& ghost);
bool has_write_seal(int fd);  // F_SEAL_WRITE

}  // namespace mcr::kinds
