#include "images/far_sink.h"

#include <poll.h>

#include <cstring>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/file.h"
#include "core/sys/stream.h"
#include "images/far_protocol.h"

namespace mcr::images {
namespace {

constexpr std::chrono::seconds kConnect{10};

bool receive(int fd, void* data, size_t size) {
  for (size_t done = 0; done < size;) {
    const size_t n = sys::read_stream(fd, static_cast<char*>(data) + done, size - done);
    if (n == 0) return false;
    done += n;
  }
  return true;
}

}  // namespace

FarSink::FarSink(const sys::TcpPlace& place) : name_(place.text()), fd_(sys::connect_tcp(place, kConnect)) {
  sys::write_stream(fd_.get(), far::kSenderMark, sizeof far::kSenderMark);
  char mark[sizeof far::kTakerMark];
  if (!receive(fd_.get(), mark, sizeof mark) || std::memcmp(mark, far::kTakerMark, sizeof mark) != 0)
    throw Error(Fault::system, fmt::format("{} is no server that takes images, or has one already", name_),
                "start one there: mini-criu page-server -D DIR --port PORT");
}

void FarSink::throw_what_it_says() {
  far::Answer answer;
  std::string why;
  try {
    if (receive(fd_.get(), &answer, sizeof answer) && answer.outcome == far::Outcome::refused &&
        answer.bytes <= far::kMostWords) {
      why.resize(answer.bytes);
      if (!receive(fd_.get(), why.data(), why.size())) why.clear();
    }
  } catch (const Error&) {  // it is gone
  }
  if (why.empty()) why = "the server has gone";
  throw Error(Fault::system,
              fmt::format("{} has not taken the image, of which {} bytes were sent: {}", name_, written_, why),
              "see what mini-criu page-server says there, and send it once more");
}

void FarSink::write(const void* data, size_t size) {
  if (sys::poll_now(fd_.get(), POLLIN) != 0) throw_what_it_says();  // nothing is to come before the end
  try {
    sys::write_stream(fd_.get(), data, size);
  } catch (const Error&) {
    throw_what_it_says();
  }
  written_ += size;
}

void FarSink::complete() {
  far::Answer answer;
  bool is_kept = false;
  try {
    is_kept = receive(fd_.get(), &answer, sizeof answer) && answer.outcome == far::Outcome::good;
  } catch (const Error& error) {
    log::debug("images", "{}: {}", name_, error.reason());
    throw_what_it_says();
  }
  if (!is_kept) throw_what_it_says();
  log::info("dump", "{} has the image: {} bytes", name_, written_);
}

}  // namespace mcr::images
