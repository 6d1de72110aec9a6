#include "images/far_sink.h"

#include <poll.h>

#include <cstring>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/file.h"
#include "core/sys/stream.h"
#include "images/byte_text.h"
#include "images/far_protocol.h"

namespace mcr::images {
namespace {

constexpr std::chrono::seconds kConnect{10}, kMark{15}, kSilence{60};
constexpr char kNoServer[] = "start one there: mini-criu page-server -D DIR --port PORT";

}  // namespace

FarSink::FarSink(const sys::TcpPlace& place) : name_(place.text()), fd_(sys::connect_tcp(place, kConnect)) {
  char mark[sizeof far::kTakerMark]{};
  try {
    sys::write_stream(fd_.get(), far::kSenderMark, sizeof far::kSenderMark);
    sys::receive_all(fd_.get(), mark, sizeof mark, kMark);
  } catch (const Error& error) {
    throw Error(Fault::system, fmt::format("{} does not take an image: {}", name_, error.reason()), kNoServer);
  }
  if (std::memcmp(mark, far::kTakerMark, sizeof mark) != 0)
    throw Error(Fault::system, fmt::format("{} is no server that takes images, or has one already", name_), kNoServer);
}

// Whether it has the image. While it is busy with checking it, it says so now and then.
bool FarSink::is_taken(std::string& why) {
  far::Answer answer;
  do {
    if (!sys::receive_all(fd_.get(), &answer, sizeof answer, kSilence)) return false;
  } while (answer.outcome == far::Outcome::busy && answer.bytes == 0);
  if (answer.outcome != far::Outcome::refused || answer.bytes > far::kMostWords)
    return answer.outcome == far::Outcome::good;
  why.resize(answer.bytes);
  if (!sys::receive_all(fd_.get(), why.data(), why.size(), kSilence)) why.clear();
  why = escaped(why);
  return false;
}

void FarSink::require_taken() {
  std::string why = "the server has gone";
  try {
    if (is_taken(why)) return;
  } catch (const Error& error) {
    why = error.reason();
  }
  throw Error(Fault::system,
              fmt::format("{} has not taken the image, of which {} bytes were sent: {}", name_, written_, why),
              "see what mini-criu page-server says there, and send it once more");
}

// Nothing is to come before the end: what does, says that no more is wanted.
void FarSink::write(const void* data, size_t size) {
  bool is_over = sys::poll_now(fd_.get(), POLLIN) != 0;
  try {
    if (!is_over) sys::write_stream(fd_.get(), data, size);
  } catch (const Error& error) {
    log::debug("images", "{}: {}", name_, error.reason());
    is_over = true;
  }
  if (is_over) {
    require_taken();
    throw Error(Fault::system, fmt::format("{} does not wait for the rest of the image", name_));
  }
  written_ += size;
}

void FarSink::complete() {
  require_taken();
  log::info("dump", "{} has the image: {} bytes", name_, written_);
}

}  // namespace mcr::images
