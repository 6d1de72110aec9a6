// io_uring(7): rings with nothing in flight. A new ring begins at 0; the positions are absolute numbers, which the
// program has copies of, so requests that do nothing bring it to where it was. Flags of io_uring_setup(2) are shown to
// nobody: those that matter are found out by what the kernel does and prints.
#include "core/kinds/io_uring.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/io_uring.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/base/bounds.h"
#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/procfs/event_files.h"
#include "core/sys/apart.h"
#include "core/sys/file.h"
#include "core/sys/io_uring_file.h"
#include "core/sys/process.h"

namespace mcr::kinds {
namespace {

using sys::RingShape, sys::RingWord;

constexpr char kName[] = "io_uring";
constexpr uint32_t kFlags =
    sys::kRingOwnSize | sys::kRingDisabled | sys::kRingWideEntries | sys::kRingWideCompletions | sys::kRingNoArray;
// Some millions a second are done, but positions have 32 bits.
constexpr uint32_t kMostTurns = 1 << 25;
constexpr uint32_t kMostGroups = 1 << 16, kFewGroups = 256;  // of provided buffers; one costs a microsecond
constexpr uint32_t kMostBuffers = 1 << 14;                   // IORING_MAX_REG_BUFFERS
constexpr uint64_t kMostBufferBytes = 1 << 30;

procfs::IoUringInfo info_of(int ring) {
  return procfs::io_uring_of(procfs::parse_fdinfo(sys::read_text(fmt::format("/proc/self/fdinfo/{}", ring))));
}

[[noreturn]] void refuse(const std::string& what, const std::string& remedy) {
  throw Error(Fault::refused, what, remedy);
}

[[noreturn]] void refuse_own_memory() {
  refuse("its memory is the program's own (IORING_SETUP_NO_MMAP)", "this cannot be saved yet");
}

void refuse_unkept(const procfs::IoUringInfo& info) {
  if (info.has_thread)
    refuse("a thread of the kernel takes its submissions (IORING_SETUP_SQPOLL)",
           "this cannot be saved yet: let the program make its ring without it");
  if (info.files > 0)
    refuse(fmt::format("it has a table of {} registered files, of which the kernel shows the names only", info.files),
           "let the program unregister them (IORING_UNREGISTER_FILES)");
  if (info.has_personalities)
    refuse("credentials are registered with it (IORING_REGISTER_PERSONALITY), which cannot be read",
           "let the program unregister them");
  if (info.polls_network) refuse("it polls network devices (IORING_REGISTER_NAPI)", "let the program unregister that");
  if (info.taken == info.completed && info.taken > kMostTurns)
    refuse(
        fmt::format("it has seen {} requests since it was made; a new ring can be brought to {} in a reasonable time",
                    info.taken, kMostTurns),
        "let the program make a new ring now and then");
}

void require_idle(const procfs::IoUringInfo& info) {
  if (info.waiting > 0) refuse(fmt::format("{} of its requests are in flight", info.waiting), "raise --timeout");
  if (info.taken != info.completed)
    refuse(fmt::format("the kernel has taken {} requests from it and told of the end of {}: either some are in flight, "
                       "or it uses requests that end several times or without a word, which cannot be told apart",
                       info.taken, info.completed),
           "raise --timeout; do without multishot requests and IOSQE_CQE_SKIP_SUCCESS");
}

// What is submitted by indices is listed by them; of a ring without indices nothing is. A wide entry or completion is
// printed with its second half.
RingShape shape_of(int ring, const procfs::IoUringInfo& info) {
  RingShape shape{sys::kRingOwnSize, info.sq_entries, info.cq_entries};
  const auto bytes = sys::find_ring_bytes(ring, info.sq_entries, info.cq_entries);
  if (!bytes) refuse_own_memory();
  const auto answers =
      sys::run_apart([&](const sys::Deliver& deliver) { deliver(sys::list_as_if_full(ring, *bytes), {}); });
  const auto listed = procfs::io_uring_of(procfs::parse_fdinfo(answers.empty() ? std::string() : answers[0].bytes));
  if (listed.completions.empty())
    refuse("the kernel does not tell how it lays out its memory", "a newer kernel does (6.0)");
  if (listed.completions[0].find("extra1:") != std::string::npos) shape.flags |= sys::kRingWideCompletions;
  if (!listed.entries.empty()) {
    if (listed.entries[0].find("e0:") != std::string::npos) shape.flags |= sys::kRingWideEntries;
    return shape;
  }
  shape.flags |= sys::kRingNoArray;
  const RingShape wide{shape.flags | sys::kRingWideEntries, shape.sq_entries, shape.cq_entries};
  if (wide.entries_bytes() != shape.entries_bytes() && sys::reaches(ring, IORING_OFF_SQES, wide.entries_bytes()))
    shape.flags |= sys::kRingWideEntries;
  return shape;
}

// Without a list a small ring, whose entries fit into a page either way, tells by what lies behind narrow ones. Wide
// ones are for commands to devices, which no dump allows.
bool seems_wide(const RingShape& shape, const sys::RingMemory& memory) {
  if (!(shape.flags & sys::kRingNoArray)) return false;
  const auto behind = memory.entries().subspan(std::min(memory.entries().size(), size_t{64} * shape.sq_entries));
  return std::any_of(behind.begin(), behind.end(), [](std::byte byte) { return byte != std::byte{0}; });
}

// An array of nothing but indices that do not exist is not listed either.
void require_no_array(const RingShape& shape, const sys::RingMemory& memory) {
  if (!(shape.flags & sys::kRingNoArray)) return;
  for (size_t at = shape.array_offset(); at + 4 <= memory.ring().size() && at < shape.array_offset() + 32; at += 4)
    if (std::to_integer<int>(memory.ring()[at]) != 0)
      refuse("it cannot be told whether it has an array of indices (IORING_SETUP_NO_SQARRAY)",
             "try again when the program has used it");
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

uint32_t word_in(const std::string& ring, RingWord word) {
  uint32_t value = 0;
  std::memcpy(&value, ring.data() + static_cast<size_t>(word), sizeof value);
  return value;
}

RingShape shape_in(const image::IoUring& ring) {
  return {ring.flags(), ring.sq_entries(), ring.cq_entries()};
}

class IoUringKind : public Kind {
 public:
  const char* name() const override { return kName; }
  bool claims(const FileView& file) const override { return file.link == kRingLink; }

  void look(const FileView& file, const OpenFiles&) const override {
    if (file.fd >= 0) refuse_unkept(procfs::io_uring_of(file.info));
  }

  void dump(const FileView& file, OpenFiles&, image::FileObject& object) const override {
    if (file.copy < 0) refuse("its descriptor cannot be copied", "let the program open it without O_PATH");
    const auto info = info_of(file.copy);
    refuse_unkept(info);
    require_idle(info);
    refuse_unreadable_ring(file.copy, false);
    RingShape shape = shape_of(file.copy, info);
    if (sys::examine_ring(file.copy, 0).is_disabled) shape.flags |= sys::kRingDisabled;
    const sys::RingMemory memory(file.copy, shape);
    require_no_array(shape, memory);
    require_known_layout(memory, info);
    if (seems_wide(shape, memory)) shape.flags |= sys::kRingWideEntries;
    image::IoUring message;
    message.set_flags(shape.flags);
    message.set_sq_entries(shape.sq_entries);
    message.set_cq_entries(shape.cq_entries);
    message.set_taken(info.taken);
    message.set_completed(info.completed);
    message.set_ring(text_of(memory.ring()));
    message.set_entries(text_of(memory.entries()));
    for (const auto& buffer : info.buffers) {
      auto* made = message.add_buffers();
      made->set_address(buffer.address);
      made->set_bytes(buffer.bytes);
    }
    object.mutable_body()->PackFrom(message);
  }

  void require_valid(const image::FileObject& object) const override {
    const auto ring = body_of<image::IoUring>(object);
    const auto bad = [](const std::string& what) { throw Error(Fault::image, what + " of a ring cannot be so"); };
    if ((ring.flags() & ~kFlags) != 0 || !(ring.flags() & sys::kRingOwnSize))
      bad(fmt::format("the flags {:#x}", ring.flags()));
    if (!std::has_single_bit(ring.sq_entries()) || ring.sq_entries() > sys::kMostRingEntries)
      bad(fmt::format("sq_entries {}", ring.sq_entries()));
    if (!std::has_single_bit(ring.cq_entries()) || ring.cq_entries() > 2 * sys::kMostRingEntries ||
        ring.cq_entries() < ring.sq_entries())
      bad(fmt::format("cq_entries {}", ring.cq_entries()));
    if (ring.taken() > kMostTurns || ring.taken() != ring.completed()) bad(fmt::format("position {}", ring.taken()));
    if ((ring.flags() & sys::kRingDisabled) && ring.taken() != 0) bad(fmt::format("position {}", ring.taken()));
    const RingShape shape = shape_in(ring);
    if (ring.ring().size() != shape.ring_bytes() || ring.entries().size() != shape.entries_bytes()) bad("the memory");
    if (word_in(ring.ring(), RingWord::taken) != ring.taken() ||
        word_in(ring.ring(), RingWord::completed) != ring.completed() ||
        word_in(ring.ring(), RingWord::sq_mask) != ring.sq_entries() - 1 ||
        word_in(ring.ring(), RingWord::cq_mask) != ring.cq_entries() - 1 ||
        word_in(ring.ring(), RingWord::sq_entries) != ring.sq_entries() ||
        word_in(ring.ring(), RingWord::cq_entries) != ring.cq_entries() || word_in(ring.ring(), RingWord::flags) != 0)
      bad("the head of the memory");
    if (static_cast<uint32_t>(ring.buffers_size()) > kMostBuffers) bad("the number of buffers");
    for (const auto& buffer : ring.buffers())
      if (buffer.bytes() > kMostBufferBytes || buffer.address() > INT64_MAX) bad("a buffer");
  }

  void check(const image::FileObject& object, const OpenedFiles&, std::vector<Problem>& problems) const override {
    const std::string name = fmt::format("ring of io_uring (object {})", object.id());
    const auto text = sys::try_read_text("/proc/sys/kernel/io_uring_disabled");  // 6.6
    if (text && !text->starts_with('0') && !(text->starts_with('1') && sys::has_capability(CAP_SYS_ADMIN)))
      problems.push_back({name, "this host allows none", "write 0 to /proc/sys/kernel/io_uring_disabled"});
    // It goes to no process by a socket (6.7): who is to have it takes it from us (pidfd_getfd(2)).
    if (!sys::has_capability(CAP_SYS_PTRACE))
      problems.push_back({name, "new processes can get it with CAP_SYS_PTRACE only", "restore as root"});
  }

  // A folder stands for it until the processes have all else.
  UniqueFd restore(const image::FileObject&, OpenedFiles&) const override {
    return sys::open("/proc", O_PATH | O_DIRECTORY);
  }
  std::optional<LateOpen> late(const image::FileObject&) const override { return LateOpen{}; }

 private:
  static void require_known_layout(const sys::RingMemory& memory, const procfs::IoUringInfo& info) {
    if (memory.get(RingWord::sq_mask) != info.sq_entries - 1 || memory.get(RingWord::cq_mask) != info.cq_entries - 1 ||
        memory.get(RingWord::sq_entries) != info.sq_entries || memory.get(RingWord::cq_entries) != info.cq_entries ||
        memory.get(RingWord::taken) != info.taken || memory.get(RingWord::completed) != info.completed)
      refuse(
          "its memory is laid out in a way that is not known yet, or the program has overwritten what is the kernel's",
          "");
    if (const uint32_t flags = memory.get(RingWord::flags); flags != 0)
      refuse(fmt::format("the kernel waits for the program to enter it (flags {:#x})", flags), "try again");
  }
};

}  // namespace

bool is_ring(const image::FileObject& object) {
  return object.kind() == kName;
}

bool is_ring_idle(int ring) {
  return info_of(ring).is_idle();
}

void require_ring_at_rest(int ring) {
  require_idle(info_of(ring));
}

void refuse_unreadable_ring(int ring, bool thorough) {
  const auto info = info_of(ring);
  if (!sys::find_ring_bytes(ring, info.sq_entries, info.cq_entries)) refuse_own_memory();
  const sys::RingManners manners = sys::examine_ring(ring, thorough ? kMostGroups : kFewGroups);
  if (manners.is_bound)
    refuse("it is bound to one thread (IORING_SETUP_SINGLE_ISSUER), and answers nobody else",
           "this cannot be saved yet: let the program make its ring without it");
  if (manners.is_restricted)
    refuse("it is restricted (IORING_REGISTER_RESTRICTIONS), and the kernel shows not to what",
           "let the program make its ring without restrictions");
  if (manners.has_eventfd)
    refuse("an eventfd is registered with it, and the kernel shows not which", "let the program unregister it");
  if (manners.buffer_group)
    refuse(fmt::format("buffers are provided to it (group {}), and the kernel shows not which", *manners.buffer_group),
           "let the program unregister them (IORING_UNREGISTER_PBUF_RING, IORING_OP_REMOVE_BUFFERS)");
}

std::string ring_parameters(const image::IoUring& ring) {
  io_uring_params parameters{};
  parameters.flags = ring.flags();
  parameters.cq_entries = ring.cq_entries();
  return {reinterpret_cast<const char*>(&parameters), sizeof parameters};
}

void fill_ring(int fd, const image::IoUring& ring, const std::string& completed) {
  io_uring_params made{};
  if (completed.size() != sizeof made) throw Error(Fault::internal, "parameters of a ring of another size");
  std::memcpy(&made, completed.data(), sizeof made);
  const RingShape shape = shape_in(ring);
  const bool has_array = !(shape.flags & sys::kRingNoArray);
  if (made.sq_entries != shape.sq_entries || made.cq_entries != shape.cq_entries ||
      (has_array && made.sq_off.array != shape.array_offset()) || made.cq_off.cqes != 64 ||
      made.sq_off.tail != static_cast<uint32_t>(RingWord::submitted) ||
      made.cq_off.head != static_cast<uint32_t>(RingWord::consumed))
    refuse("this kernel lays out the memory of a ring otherwise", "restore on the kernel of the dump");
  sys::RingMemory memory(fd, shape);
  sys::turn_ring(fd, memory, shape, ring.taken());
  std::memcpy(memory.entries().data(), ring.entries().data(), ring.entries().size());
  std::memcpy(memory.ring().data(), ring.ring().data(), ring.ring().size());
}

const Kind* io_uring_kind() {
  static const IoUringKind kind;
  return &kind;
}

}  // namespace mcr::kinds
