// Fuzz target of what a server of images answers (docs/image-format.md, "The image over a connection"): whoever answers
// at the port. The first byte: 0 is a server that begins as one does, then come the bytes; else the bytes are all it
// says. On every connection the same.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/file.h"
#include "core/sys/stream.h"
#include "core/sys/tcp.h"
#include "images/far_image.h"
#include "images/far_protocol.h"
#include "images/format.h"
#include "images/page_file.h"

namespace {

using namespace mcr;

constexpr uint64_t kPagesBytes = 1 << 20;

void require(bool holds) {
  if (!holds) std::abort();
}

// Answers one connection after the other. What it has said it does not take back: the connection stays open until the
// other side has left.
class Server {
 public:
  Server() : listener_(sys::listen_tcp({"127.0.0.1", 0})), stop_(sys::make_pipe(O_CLOEXEC)) {
    std::thread([this] { answer_all(); }).detach();
  }
  sys::TcpPlace place() const { return {"127.0.0.1", sys::local_port(listener_.get())}; }
  void say(std::string words) {
    const std::scoped_lock lock(mutex_);
    words_ = std::move(words);
  }

 private:
  void answer_all() {
    for (;;) try {
        const UniqueFd fd = sys::accept_tcp(listener_.get(), stop_.read_end.get());
        std::string words;
        {
          const std::scoped_lock lock(mutex_);
          words = words_;
        }
        sys::write_stream(fd.get(), words.data(), words.size());
        ::shutdown(fd.get(), SHUT_WR);
        for (char byte; sys::receive_all(fd.get(), &byte, 1, std::chrono::seconds(5));) {
        }
      } catch (const Error&) {  // it has left before it had heard all
      }
  }

  UniqueFd listener_;
  sys::Pipe stop_;
  std::mutex mutex_;
  std::string words_;
};

void use(images::FarImage& image, size_t size) {
  if (const auto file = image.open(images::kInventoryName))
    require(static_cast<size_t>(sys::stat_fd(file->get()).st_size) <= size);
  auto pages = image.open_pages("pages-1.img", kPagesBytes);
  std::byte some[100];
  require(pages.read(kPagesBytes / 2, some, sizeof some) <= sizeof some);
  image.say_done();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Server& server = [&]() -> Server& {
    log::start({.level = log::Level::message, .ring_lines = 0});
    return *new Server;  // its thread never ends
  }();
  if (size == 0) return 0;
  std::string words(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 0)
    words.insert(0, std::string(images::far::kServerMark, sizeof images::far::kServerMark) +
                        std::string(images::kImageIdBytes, 'i'));
  server.say(std::move(words));
  try {
    images::FarImage image(server.place(), std::chrono::seconds(0));
    use(image, size);
  } catch (const Error& error) {
    require(error.fault() != Fault::internal && !error.reason().empty());
  }
  return 0;
}
