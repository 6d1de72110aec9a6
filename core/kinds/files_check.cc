#include "core/kinds/files_check.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <climits>

#include "core/base/bounds.h"
#include "core/base/error.h"
#include "core/kinds/file_locks.h"
#include "core/kinds/kind.h"
#include "core/kinds/socket_options.h"
#include "core/kinds/tcp_sockets.h"
#include "core/kinds/udp_queue.h"
#include "core/kinds/unix_sockets.h"
#include "core/sys/file.h"
#include "images/page_extents.h"

namespace mcr::kinds {
namespace {

constexpr uint64_t kMostChunk = 16 << 20;  // of a deleted file's content: read into memory whole
constexpr uint32_t kMostPipe = 1u << 31;   // F_SETPIPE_SZ takes no more
constexpr size_t kLongestResource = 64;
constexpr size_t kPacket = 4096;  // PIPE_BUF: no packet is larger

[[noreturn]] void bad(const std::string& record, const std::string& what) {
  throw Error(Fault::image, fmt::format("files.img: {}: {}", record, what),
              "the image is damaged or was made by a faulty program");
}

std::string shown(const std::string& path) {
  std::string text = path.substr(0, 80);
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return text;
}

void check_path(const std::string& record, const std::string& path) {
  if (!bounds::is_kernel_path(path)) bad(record, fmt::format("path cannot be \"{}\"", shown(path)));
}

// Another type of file may wait for ever when it is opened, or do something; O_PATH does not open it.
void check_regular_file(const std::string& record, const image::RegularFile& file, bool is_place_only) {
  check_path(record, file.path());
  if (!is_place_only && !S_ISREG(file.mode()) && !S_ISDIR(file.mode()))
    bad(record, fmt::format("mode cannot be {:o}", file.mode()));
  if (file.size() > INT64_MAX) bad(record, fmt::format("size cannot be {}", file.size()));
}

bool is_file_type(uint32_t mode) {
  return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISFIFO(mode) || S_ISSOCK(mode) || S_ISCHR(mode) ||
         S_ISBLK(mode);
}

// What a symbolic link says.
void check_path_text(const std::string& record, const std::string& text) {
  if (text.empty() || text.size() >= PATH_MAX || text.find('\0') != std::string::npos)
    bad(record, fmt::format("target cannot be \"{}\"", shown(text)));
}

void check_lock(const std::string& record, const image::FileLock& lock, bool of_process) {
  const bool known =
      of_process ? lock.kind() == kPosix : lock.kind() == kFlock || lock.kind() == kOpenFile || lock.kind() == kLease;
  if (!known) bad(record, fmt::format("a lock of kind \"{}\" cannot stand there", shown(lock.kind())));
  if (lock.start() > INT64_MAX || lock.bytes() > INT64_MAX - lock.start())
    bad(record, fmt::format("a lock of {} bytes from {}", lock.bytes(), lock.start()));
  if (lock.breaking() > kToRead || (lock.breaking() != 0 && lock.kind() != kLease) ||
      (lock.breaking() == kToRead && !lock.write()))
    bad(record, fmt::format("a lock that is broken to {}", lock.breaking()));
}

}  // namespace

void check_locks(const image::Descriptor& descriptor) {
  for (const auto& lock : descriptor.locks()) check_lock(fmt::format("descriptor {}", descriptor.fd()), lock, true);
}

namespace {

// A message is made only of an object that has one.
template <typename Message, typename Check>
bool check_as(const image::FileObject& object, const Check& check) {
  if (!object.body().Is<Message>()) return false;
  Message message;
  if (object.body().UnpackTo(&message)) check(message);
  return true;
}

void check_sockets(const std::string& record, const image::FileObject& object) {
  check_as<image::UnixSocket>(object, [&](const auto& m) { check_unix_record(record, m); });
  check_as<image::TcpSocket>(object, [&](const auto& m) { check_tcp_record(record, m); });
  check_as<image::UdpSocket>(object, [&](const auto& m) { check_udp_record(record, m); });
  check_as<image::NetlinkSocket>(object, [&](const auto& m) { check_socket_record(record, m.common()); });
  check_as<image::PacketSocket>(object, [&](const auto& m) { check_socket_record(record, m.common()); });
  check_as<image::RawSocket>(object, [&](const auto& m) {
    check_socket_record(record, m.common());
    if (const int domain = m.common().domain(); domain != AF_INET && domain != AF_INET6)
      bad(record, fmt::format("domain cannot be {}", domain));
  });
}

void check_body(const std::string& record, const image::FileObject& object) {
  const bool is_place_only = (object.flags() & O_PATH) != 0 && object.kind() == "path_only";
  if (check_as<image::RegularFile>(object, [&](const auto& m) { check_regular_file(record, m, is_place_only); }))
    return;
  check_sockets(record, object);
  check_as<image::CharDevice>(object, [&](const auto& m) { check_path(record, m.path()); });
  check_as<image::ExternalFile>(object, [&](const auto& m) {
    if (m.resource().size() > kLongestResource) bad(record, "the name of an external file is too long");
  });
  check_as<image::Pipe>(object, [&](const auto& m) {
    if (!m.fifo_path().empty()) check_path(record, m.fifo_path());
    if ((object.flags() & O_ACCMODE) == O_ACCMODE) bad(record, fmt::format("flags cannot be {:o}", object.flags()));
  });
}

}  // namespace

void check_object(const image::FileObject& object) {
  const std::string record = fmt::format("object {}", object.id());
  if (object.id() == 0) bad(record, "its id cannot be 0");
  if (object.offset() < 0) bad(record, fmt::format("offset cannot be {}", object.offset()));
  if (!bounds::is_signal_or_none(object.owner_signal()))
    bad(record, fmt::format("owner_signal cannot be {}", object.owner_signal()));
  if (object.owner_type() < 0 || object.owner_type() > 2)
    bad(record, fmt::format("owner_type cannot be {}", object.owner_type()));
  if (object.owner_pid() < -bounds::kMaxPid || object.owner_pid() > bounds::kMaxPid)
    bad(record, fmt::format("owner_pid cannot be {}", object.owner_pid()));
  for (const auto& lock : object.locks()) check_lock(record, lock, false);
  if (const Kind* kind = kind_named(object.kind())) {
    const Step step("files.img: object {} {}", object.id(), object.kind());
    kind->require_valid(object);
  }
  check_body(record, object);
}

// In order and apart from each other, in the file and in the image: so the file gets no more than the image has.
void check_ghost(const image::Ghost& ghost, const images::ImageReader& reader) {
  const std::string record = fmt::format("deleted file {}", ghost.id());
  check_path(record, ghost.path());
  if (ghost.path() == "/") bad(record, "path cannot be \"/\"");
  if (!is_file_type(ghost.mode())) bad(record, fmt::format("mode cannot be {:o}", ghost.mode()));
  if (S_ISLNK(ghost.mode())) check_path_text(record, ghost.target());
  if (!S_ISREG(ghost.mode())) {
    if (ghost.extents_size() != 0 || ghost.size() != 0 || ghost.has_memfd()) bad(record, "content of what has none");
    return;
  }
  if (ghost.size() > INT64_MAX) bad(record, fmt::format("size cannot be {}", ghost.size()));
  if (!reader.has(ghost.content_file()))
    bad(record, fmt::format("the inventory lists no \"{}\"", shown(ghost.content_file())));
  const images::PageFile content = reader.pages(ghost.content_file());
  const uint64_t stored = content.size();
  uint64_t file_end = 0, content_end = images::kPageFileHeader;
  std::vector<std::pair<uint64_t, uint64_t>> stretches;
  for (const auto& extent : ghost.extents()) {
    const auto fail = [&](const char* what) {
      bad(record, fmt::format("its extent at {}: {}", extent.file_offset(), what));
    };
    if (extent.bytes() == 0 || extent.file_offset() < file_end || extent.file_offset() > ghost.size() ||
        extent.bytes() > ghost.size() - extent.file_offset())
      fail("it overlaps another, or the end of the file");
    if (extent.offset() < content_end || extent.offset() > stored || extent.bytes() > stored - extent.offset())
      fail("its content overlaps another's, or the end of its file");
    const uint64_t chunk = extent.chunk_bytes();
    if (chunk == 0 || chunk > kMostChunk) fail("chunk_bytes cannot be so");
    if ((extent.bytes() - 1) / chunk + 1 != static_cast<uint64_t>(extent.checksums_size()))
      fail("checksums are missing");
    file_end = extent.file_offset() + extent.bytes();
    content_end = extent.offset() + extent.bytes();
    stretches.emplace_back(extent.offset(), extent.bytes());
  }
  images::check_gaps(content, ghost.content_file(), stored, std::move(stretches));
}

void check_pipe_data(const image::PipeData& data) {
  const std::string record = fmt::format("pipe content {}", data.id());
  if (!data.fifo_path().empty()) check_path(record, data.fifo_path());
  if (data.capacity() == 0 || data.capacity() >= kMostPipe)
    bad(record, fmt::format("capacity cannot be {}", data.capacity()));
  uint64_t bytes = 0;
  for (const std::string& chunk : data.chunks()) {
    if (data.packets() && chunk.size() > kPacket) bad(record, fmt::format("a packet of {} bytes", chunk.size()));
    bytes += data.packets() ? kPacket : chunk.size();
  }
  if (bytes > data.capacity()) bad(record, fmt::format("{} bytes in a pipe for {}", bytes, data.capacity()));
}

}  // namespace mcr::kinds
