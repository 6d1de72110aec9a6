// Rings of io_uring(7), as far as the engine takes part in them: they cannot be sent over a socket, have memory that is
// mapped, and must be at rest.
#pragma once

#include "core/kinds/kind.h"
#include "images/proto/io_uring.pb.h"

namespace mcr::kinds {

inline constexpr char kRingLink[] = "anon_inode:[io_uring]";

bool is_ring(const mcr::image::FileObject& object);
// Nothing that the kernel has taken of it is on its way. `ring`: a descriptor of ours.
bool is_ring_idle(int ring);
void require_ring_at_rest(int ring);  // the same; throws Fault::refused with the reason
// Throws Fault::refused for what a ring has that cannot be read. `thorough`: also where that takes a while; before the
// freeze.
void refuse_unreadable_ring(int ring, bool thorough);
// What io_uring_setup(2) gets, as bytes of struct io_uring_params.
std::string ring_parameters(const mcr::image::IoUring& ring);
// A new ring, made with these parameters, which are passed as the kernel has completed them, gets positions and memory
// of the old one. Throws Fault::refused when this kernel lays its memory out otherwise.
void fill_ring(int fd, const mcr::image::IoUring& ring, const std::string& parameters);

}  // namespace mcr::kinds
