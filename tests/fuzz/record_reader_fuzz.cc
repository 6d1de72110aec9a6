// Fuzz target of the image readers. The first byte chooses: the file as it is; the same with its checksums put right,
// so that mutations reach what lies behind them; or a file of pages. Refusing with an Error that says so is a good
// outcome; any other exception, or a finding of the sanitizers, is a defect.
//
// With -DMCR_FUZZ_REPLAY it has a main() that runs the target over the files named on the command line.
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/format.h"
#include "images/store.h"

namespace {

using namespace mcr::images;

void require(bool holds) {
  if (!holds) std::abort();
}

mcr::UniqueFd file_of(const std::string& bytes) {
  mcr::UniqueFd fd = mcr::sys::make_memfd("fuzz");
  mcr::sys::write_text(fd.get(), bytes);
  return fd;
}

void read_records(const std::string& bytes) {
  RecordReader reader(file_of(bytes), "fuzz.img");
  require(reader.image_id().size() == kImageIdBytes && reader.version() <= kFormatVersion);
  uint64_t last = 0;
  while (reader.next_type()) {
    require(reader.offset() > last);
    last = reader.offset();
    require(reader.read_any() != nullptr);
  }
  require(reader.offset() == bytes.size());
}

void put_checksum(std::string& bytes, size_t from, size_t at) {
  const uint64_t sum = checksum_of(bytes.data() + from, at - from);
  std::memcpy(bytes.data() + at, &sum, sizeof sum);
}

// Follows the lengths as they are, as far as they stay inside the file.
std::string with_right_checksums(std::string bytes) {
  const std::string header = encode_header(FileKind::records, std::string(kImageIdBytes, 'i'));
  bytes = header + bytes;
  for (size_t at = kHeaderBytes; bytes.size() - at >= kFrameStart + kChecksumBytes;) {
    const size_t body = kFrameStart + number_at<uint32_t>(bytes, at) + number_at<uint16_t>(bytes, at + 4);
    if (body > bytes.size() - at - kChecksumBytes) break;
    put_checksum(bytes, at, at + body);
    at += body + kChecksumBytes;
  }
  return bytes;
}

void read_pages(std::string bytes) {
  if (bytes.size() >= kHeaderBytes) put_checksum(bytes, 0, kHeaderBytes - kChecksumBytes);
  const mcr::UniqueFd fd = file_of(bytes);
  require(read_page_header(fd.get(), "fuzz.img").kind == FileKind::pages);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const google::protobuf::LogSilencer silencer;  // protobuf would report every string that is not UTF-8
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    switch (data[0] % 3) {
      case 0:
        read_records(bytes);
        break;
      case 1:
        read_records(with_right_checksums(bytes));
        break;
      case 2:
        read_pages(bytes);
        break;
    }
  } catch (const mcr::Error& error) {
    require(error.fault() == mcr::Fault::image && !error.reason().empty() && !error.remedy().empty());
  }
  return 0;
}

#ifdef MCR_FUZZ_REPLAY
int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string bytes = mcr::sys::read_text(argv[i]);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  }
  return 0;
}
#endif
