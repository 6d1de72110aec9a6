#include <google/protobuf/descriptor.h>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/format.h"
#include "images/messages.h"

namespace mcr::images {

struct RecordReader::Impl {
  struct Frame {
    size_t offset = 0;  // of the frame in the file
    std::string_view type, payload;
  };

  std::string name;
  std::string bytes;  // the whole file: what has been checked cannot change before it is used
  FileHeader header;
  size_t at = 0;
  uint64_t count = 0;
  bool closed = false;
  std::optional<Frame> pending;
  std::string known_type;  // of the record before: most files hold many of one type

  Impl(std::string content, std::string file_name);
  void advance();  // sets `pending`, or `closed` after the closing record
  Frame frame_at(size_t offset) const;
  void close_with(const Frame& closing);
  Frame take();
};

RecordReader::Impl::Impl(std::string content, std::string file_name)
    : name(std::move(file_name)), bytes(std::move(content)) {
  header = decode_header(std::string_view(bytes).substr(0, kHeaderBytes), name);
  if (header.kind != FileKind::records)
    throw Error(Fault::image, fmt::format("{} holds pages, not records", name), "give a file of records");
  at = kHeaderBytes;
}

// No length is believed before it is known to lie inside the file: the payload is a view, nothing is allocated for it.
RecordReader::Impl::Frame RecordReader::Impl::frame_at(size_t offset) const {
  const std::string_view rest = std::string_view(bytes).substr(offset);
  if (rest.empty()) throw_damaged(name, offset, "the file ends without its closing record");
  if (rest.size() < kFrameStart) throw_damaged(name, offset, "the file ends inside a record");
  const size_t payload = number_at<uint32_t>(rest, 0), type = number_at<uint16_t>(rest, 4);
  if (payload > kMaxRecordBytes || type > kMaxTypeName)
    throw_damaged(name, offset, fmt::format("impossible lengths of a record ({} and {} bytes)", type, payload));
  const size_t body = kFrameStart + type + payload;
  if (body + kChecksumBytes > rest.size()) throw_damaged(name, offset, "the file ends inside a record");
  const auto stored = number_at<uint64_t>(rest, body);
  const uint64_t computed = checksum_of(rest.data(), body);
  if (stored != computed)
    throw_damaged(name, offset,
                  fmt::format("checksum of a record differs ({:016x}, computed {:016x})", stored, computed));
  return {offset, rest.substr(kFrameStart, type), rest.substr(kFrameStart + type, payload)};
}

void RecordReader::Impl::close_with(const Frame& closing) {
  if (closing.payload.size() != sizeof(uint64_t)) throw_damaged(name, closing.offset, "wrong closing record");
  const auto expected = number_at<uint64_t>(closing.payload, 0);
  if (expected != count)
    throw_damaged(name, closing.offset, fmt::format("{} records, but the closing record counts {}", count, expected));
  if (at != bytes.size()) throw_damaged(name, at, "bytes after the closing record");
  closed = true;
}

void RecordReader::Impl::advance() {
  if (pending || closed) return;
  const Frame frame = frame_at(at);
  at += kFrameStart + frame.type.size() + frame.payload.size() + kChecksumBytes;
  if (frame.type.empty()) return close_with(frame);
  if (frame.type != known_type && !find_message(frame.type))
    throw Error(
        Fault::image,
        fmt::format("{} at offset {}: this program knows no record of type \"{}\"", name, frame.offset, frame.type),
        "use the mini-criu that wrote the image");
  known_type = frame.type;
  ++count;
  pending = frame;
}

RecordReader::Impl::Frame RecordReader::Impl::take() {
  advance();
  if (!pending) throw_damaged(name, bytes.size(), "a record is missing");
  return *std::exchange(pending, std::nullopt);
}

static std::string read_whole(int fd, const std::string& name) {
  const uint64_t size = static_cast<uint64_t>(sys::stat_fd(fd).st_size);
  read_header(fd, name);  // before anything is allocated for a large foreign file
  if (size > kMaxRecordFileBytes)
    throw_damaged(name, kMaxRecordFileBytes, "the file is larger than a file of records can be");
  std::string bytes(size, '\0');
  for (size_t used = 0; used < size;) {
    const size_t n = sys::pread_some(fd, bytes.data() + used, size - used, used);
    if (n == 0) throw_damaged(name, used, "the file became shorter while it was read");
    used += n;
  }
  return bytes;
}

RecordReader::RecordReader(UniqueFd fd, std::string name) {
  std::string bytes = read_whole(fd.get(), name);
  impl_ = std::make_unique<Impl>(std::move(bytes), std::move(name));
}

RecordReader::RecordReader(std::string bytes, std::string name)
    : impl_(std::make_unique<Impl>(std::move(bytes), std::move(name))) {}

RecordReader::~RecordReader() = default;
RecordReader::RecordReader(RecordReader&&) noexcept = default;

std::optional<std::string> RecordReader::next_type() {
  impl_->advance();
  if (!impl_->pending) return std::nullopt;
  return std::string(impl_->pending->type);
}

void RecordReader::read_into(google::protobuf::Message& message) {
  const Impl::Frame frame = impl_->take();
  const std::string& wanted = message.GetDescriptor()->full_name();
  if (frame.type != wanted)
    throw_damaged(impl_->name, frame.offset, fmt::format("a record {} where {} belongs", frame.type, wanted));
  if (!parse_bounded(frame.payload, message))
    throw_damaged(impl_->name, frame.offset, fmt::format("the record is no valid {}", frame.type));
}

std::unique_ptr<google::protobuf::Message> RecordReader::read_any() {
  impl_->advance();
  if (!impl_->pending) throw_damaged(impl_->name, impl_->bytes.size(), "a record is missing");
  auto message = new_message(find_message(impl_->pending->type));
  read_into(*message);
  return message;
}

uint64_t RecordReader::offset() const {
  return impl_->pending ? impl_->pending->offset : impl_->at;
}
const std::string& RecordReader::name() const {
  return impl_->name;
}
const std::string& RecordReader::image_id() const {
  return impl_->header.image_id;
}
uint32_t RecordReader::version() const {
  return impl_->header.version;
}

}  // namespace mcr::images
