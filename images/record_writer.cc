#include <google/protobuf/descriptor.h>
#include <xxhash.h>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/format.h"

namespace mcr::images {

namespace {
constexpr size_t kFlushBytes = 1u << 20;  // the files of a small process are written with one call each

struct FreeHash {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};
}  // namespace

struct RecordWriter::Impl {
  WriteBytes write;
  std::string name;
  std::string buffer;
  std::unique_ptr<XXH3_state_t, FreeHash> hash{XXH3_createState()};
  uint64_t written = 0;
  uint64_t count = 0;
  uint64_t checksum = 0;
  bool finished = false;

  void flush();
  // Frames what `fill` appends to the buffer.
  template <typename Fill>
  void add_frame(std::string_view type, size_t payload_size, Fill fill);
};

void RecordWriter::Impl::flush() {
  const Step step("write {}", name);
  XXH3_64bits_update(hash.get(), buffer.data(), buffer.size());
  write(buffer.data(), buffer.size());
  written += buffer.size();
  buffer.clear();
}

template <typename Fill>
void RecordWriter::Impl::add_frame(std::string_view type, size_t payload_size, Fill fill) {
  const size_t start = buffer.size();
  append_number(buffer, static_cast<uint32_t>(payload_size));
  append_number(buffer, static_cast<uint16_t>(type.size()));
  buffer += type;
  const size_t payload = buffer.size();
  buffer.resize(payload + payload_size);
  fill(reinterpret_cast<uint8_t*>(buffer.data() + payload));
  append_number(buffer, checksum_of(buffer.data() + start, buffer.size() - start));
  if (buffer.size() >= kFlushBytes) flush();
}

RecordWriter::RecordWriter(UniqueFd fd, std::string name, const std::string& image_id)
    : RecordWriter([file = std::make_shared<UniqueFd>(std::move(fd))](
                       const void* data, size_t size) { sys::write_fully(file->get(), data, size); },
                   std::move(name), image_id) {}

RecordWriter::RecordWriter(WriteBytes write, std::string name, const std::string& image_id)
    : impl_(std::make_unique<Impl>()) {
  impl_->write = std::move(write);
  impl_->name = std::move(name);
  impl_->buffer = encode_header(FileKind::records, image_id);
  XXH3_64bits_reset(impl_->hash.get());
}

RecordWriter::~RecordWriter() = default;
RecordWriter::RecordWriter(RecordWriter&&) noexcept = default;

void RecordWriter::append(const google::protobuf::Message& message) {
  const std::string& type = message.GetDescriptor()->full_name();
  if (impl_->finished || type.size() > kMaxTypeName)
    throw Error(Fault::internal, fmt::format("{}: {} cannot be appended", impl_->name, type));
  const size_t size = message.ByteSizeLong();
  const uint64_t total = impl_->written + impl_->buffer.size() + size;
  if (size > kMaxRecordBytes || total > kMaxRecordFileBytes - kMaxRecordBytes)
    throw Error(Fault::refused,
                fmt::format("{}: a record {} of {} bytes after {} bytes is more than an image file holds", impl_->name,
                            type, size, total - size));
  impl_->add_frame(type, size, [&](uint8_t* to) { message.SerializeWithCachedSizesToArray(to); });
  ++impl_->count;
}

void RecordWriter::finish() {
  if (impl_->finished) return;
  const uint64_t count = impl_->count;
  impl_->add_frame({}, sizeof count, [&](uint8_t* to) { std::memcpy(to, &count, sizeof count); });
  impl_->flush();
  impl_->checksum = XXH3_64bits_digest(impl_->hash.get());
  impl_->finished = true;
  impl_->write = nullptr;  // closes the file
}

uint64_t RecordWriter::size() const {
  if (!impl_->finished) throw Error(Fault::internal, impl_->name + " is not finished");
  return impl_->written;
}

uint64_t RecordWriter::checksum() const {
  if (!impl_->finished) throw Error(Fault::internal, impl_->name + " is not finished");
  return impl_->checksum;
}

const std::string& RecordWriter::name() const {
  return impl_->name;
}

}  // namespace mcr::images
