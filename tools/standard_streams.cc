#include "tools/standard_streams.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <system_error>

#include "core/base/log.h"
#include "core/sys/file.h"
#include "core/sys/stream.h"
#include "tools/settings.h"

namespace mcr::cli {
namespace {

constexpr int kPipeBytes = 1 << 20;     // fewer turns of the two sides; a pipe has 64 KiB by itself
constexpr int kEndMilliseconds = 1000;  // for the other side to close it, which not every transport does

void widen(int fd) {
  if (S_ISFIFO(sys::stat_fd(fd).st_mode)) sys::try_set_pipe_size(fd, kPipeBytes);
}

bool is_code(const Error& error, std::errc code) {
  return error.code() == static_cast<int>(code);
}

void refuse_rest(int fd, uint64_t offset) {
  if (!sys::wait_readable(fd, kEndMilliseconds)) {
    log::info("restore", "The stream is whole, though nobody has closed it");
    return;
  }
  char byte;
  if (sys::read_stream(fd, &byte, 1) != 0)
    throw Error(Fault::image, fmt::format("the stream goes on behind its end record, at offset {}", offset),
                "give the output of one mini-criu dump -D -, and nothing else");
}

}  // namespace

OutputStream::OutputStream(bool sync) : sync_(sync) {
  if (!sys::is_open(1)) usage("-D - writes the image to standard output, which is closed", "give a pipe or a file");
  if (sys::is_terminal(1))
    usage("-D - writes the image to standard output, which is a terminal",
          "put a pipe or a file behind it: mini-criu dump -t PID -D - | ssh HOST mini-criu restore -D -");
  fd_ = sys::duplicate(1);
  widen(fd_.get());
  if (sys::is_open(2))
    sys::become_standard(2, 1);
  else
    sys::become_standard(sys::open("/dev/null", O_WRONLY).get(), 1);
}

void OutputStream::write(const void* data, size_t size) {
  try {
    sys::write_stream(fd_.get(), data, size);
    written_ += size;
  } catch (const Error& error) {
    if (is_code(error, std::errc::broken_pipe))
      throw Error(Fault::system,
                  fmt::format("nobody reads the stream any more; {} bytes or more of it were taken", written_),
                  "see why the program behind the pipe ended", error.code());
    throw Error(Fault::system, fmt::format("the stream cannot be written after {} bytes: {}", written_, error.reason()),
                error.remedy(), error.code());
  }
}

void OutputStream::complete() {
  if (sync_) sys::sync_stream(fd_.get());
  log::info("dump", "The stream is written: {} bytes", written_);
}

std::shared_ptr<const images::ReceivedImage> receive_image(Progress* progress) {
  if (!sys::is_open(0)) usage("-D - reads the image from standard input, which is closed", "give a pipe or a file");
  if (sys::is_terminal(0))
    usage("-D - reads the image from standard input, which is a terminal",
          "put a pipe or a file before it: mini-criu restore -D - < FILE");
  const UniqueFd fd = sys::duplicate(0);
  widen(fd.get());
  sys::become_standard(sys::open("/dev/null", O_RDWR).get(), 0);
  uint64_t offset = 0;
  auto image = images::ReceivedImage::receive(
      [&](void* data, size_t size) {
        const size_t n = sys::read_stream(fd.get(), data, size);
        offset += n;
        return n;
      },
      progress);
  refuse_rest(fd.get(), offset);
  log::info("restore", "The stream is received and right: {} bytes", offset);
  return image;
}

}  // namespace mcr::cli
