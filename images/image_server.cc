#include "images/image_server.h"

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/file.h"
#include "core/sys/stream.h"
#include "core/sys/tcp.h"
#include "images/byte_text.h"
#include "images/far_protocol.h"
#include "images/format.h"
#include "images/store.h"

namespace mcr::images {
namespace {

using far::Answer;
using far::Ask;
using far::Outcome;
using far::Question;

constexpr size_t kMostConnections = 64;
constexpr std::chrono::seconds kMark{10};
constexpr int kLinger = 1000;            // milliseconds: one whose connection has just broken comes back
constexpr std::chrono::hours kIdle{24};  // one that is silent for longer connects again

// An answer was begun, and cannot be finished.
class Torn : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

void answer(int fd, Outcome outcome, uint64_t bytes) {
  const Answer words{outcome, 0, bytes};
  sys::write_stream(fd, &words, sizeof words);
}

void refuse(int fd, std::string why) {
  why.resize(std::min(why.size(), far::kMostWords));
  answer(fd, Outcome::refused, why.size());
  sys::write_stream(fd, why.data(), why.size());
}

struct Connection {
  UniqueFd fd;
  std::thread thread;
  std::atomic<bool> is_over = false;
  bool has_asked = false, has_all = false;  // by ImageServer::Impl::mutex
};

}  // namespace

struct ImageServer::Impl {
  explicit Impl(const std::string& directory) : reader(directory) {}

  ~Impl() { end_over(true); }

  void serve_one(Connection& connection);
  bool answer_one(Connection& connection);
  void answer_question(Connection& connection, const Question& question, const std::string& name);
  void note_end(Connection& connection);
  void open_all();
  void send(int fd, const Question& question, const std::string& name);
  std::pair<int, uint64_t> open(const std::string& name) const;
  void end_over(bool all);
  bool is_wanted(int listener);

  const ImageReader reader;
  std::string image_id;
  std::mutex mutex;                                            // of what follows
  std::map<std::string, std::pair<UniqueFd, uint64_t>> files;  // and their sizes
  sys::Pipe stop = sys::make_pipe(O_CLOEXEC);                  // readable when somebody has all
  bool is_had = false;                                         // by one who says so
  size_t asking = 0;  // connections that have asked for something, and may ask for more
  std::atomic<uint64_t> sent = 0;
  Progress* progress = nullptr;
  std::vector<std::unique_ptr<Connection>> connections;  // of the thread that accepts them
};

ImageServer::ImageServer(const std::string& directory) : impl_(std::make_unique<Impl>(directory)) {
  if (impl_->reader.inventory().has_parent())
    throw Error(Fault::refused,
                fmt::format("{} builds upon the image in {}", directory, impl_->reader.inventory().parent().path()),
                "make one image of all of them first: mini-criu merge DIR -o NEW");
  if (impl_->reader.inventory().memory_only())
    throw Error(Fault::image, fmt::format("{} holds memory only: it was made by pre-dump", directory),
                "serve the image of the dump that was made after it");
  impl_->open_all();
}
ImageServer::~ImageServer() = default;

// At once: whatever another dump makes of the folder, all parts are those of one image.
void ImageServer::Impl::open_all() {
  const auto add = [&](const std::string& name) {
    UniqueFd fd = reader.as_it_is(name);
    const auto size = static_cast<uint64_t>(sys::stat_fd(fd.get()).st_size);
    files.emplace(name, std::pair(std::move(fd), size));
  };
  add(kInventoryName);
  for (const auto& file : reader.inventory().files()) add(file.name());
  image_id = read_header(files.at(kInventoryName).first.get(), kInventoryName).image_id;
  if (image_id != reader.id())
    throw Error(Fault::image, "another dump has replaced the image meanwhile", "start the server once more");
}

// What an inventory lists, and nothing else.
std::pair<int, uint64_t> ImageServer::Impl::open(const std::string& name) const {
  const auto found = files.find(name);
  if (found == files.end()) throw Error(Fault::image, fmt::format("the image has no file {}", escaped(name)));
  return {found->second.first.get(), found->second.second};
}

void ImageServer::Impl::send(int fd, const Question& question, const std::string& name) {
  const auto [file, size] = open(name);
  if (question.bytes > far::kMostAsked || question.offset > size || question.bytes > size - question.offset)
    throw Error(Fault::image, fmt::format("{} has no {} bytes at {}", escaped(name), question.bytes, question.offset));
  answer(fd, Outcome::good, question.bytes);
  try {
    sys::send_file(fd, file, question.offset, question.bytes);
  } catch (const Error& error) {  // what was announced cannot be taken back
    throw Torn(fmt::format("{}: {}", name, error.reason()));
  }
  sent += question.bytes;
  if (progress) progress->done = sent.load();
}

void ImageServer::Impl::answer_question(Connection& connection, const Question& question, const std::string& name) {
  const int fd = connection.fd.get();
  switch (question.ask) {
    case Ask::size:
      return answer(fd, Outcome::good, open(name).second);
    case Ask::bytes:
      return send(fd, question, name);
    case Ask::done: {
      answer(fd, Outcome::good, 0);
      const std::scoped_lock lock(mutex);
      connection.has_all = true;
      return;
    }
  }
  refuse(fd, "nobody knows this question");
}

// False: no more will come.
bool ImageServer::Impl::answer_one(Connection& connection) {
  const int fd = connection.fd.get();
  Question question;
  if (!sys::receive_all(fd, &question, sizeof question, kIdle)) return false;
  if (question.name_bytes > far::kMostName) return refuse(fd, "a name is too long"), false;
  std::string name(question.name_bytes, '\0');
  if (!sys::receive_all(fd, name.data(), name.size(), kMark)) return false;
  if (!connection.has_asked) {
    const std::scoped_lock lock(mutex);
    connection.has_asked = true;
    ++asking;
  }
  try {
    answer_question(connection, question, name);
  } catch (const Error& error) {
    log::warning("server", "{}: {}", sys::peer_text(fd), error.reason());
    refuse(fd, error.reason());
  }
  return !connection.has_all;
}

// Others may still need the image: the last one to leave ends the server, when any has said that it has all.
void ImageServer::Impl::note_end(Connection& connection) {
  {
    const std::scoped_lock lock(mutex);
    if (connection.has_asked) --asking;
    is_had = is_had || connection.has_all;
    if (is_had && asking == 0) stop.write_end.reset();
  }
  connection.is_over = true;
  sys::end_tcp(connection.fd.get());
}

void ImageServer::Impl::serve_one(Connection& connection) {
  const int fd = connection.fd.get();
  const std::string peer = sys::peer_text(fd);
  try {
    char mark[sizeof far::kClientMark];
    if (!sys::receive_all(fd, mark, sizeof mark, kMark) || std::memcmp(mark, far::kClientMark, sizeof mark) != 0) {
      log::warning("server", "{} is nobody who asks for an image", peer);
    } else {
      sys::write_stream(fd, far::kServerMark, sizeof far::kServerMark);
      sys::write_stream(fd, image_id.data(), image_id.size());
      log::info("server", "{} asks for the image", peer);
      while (answer_one(connection))
        ;
      log::info("server", "{} has left", peer);
    }
  } catch (const std::exception& error) {
    log::warning("server", "{}: {}", peer, error.what());
  }
  note_end(connection);
}

void ImageServer::Impl::end_over(bool all) {
  for (const auto& connection : connections)
    if (all) sys::end_tcp(connection->fd.get());
  std::erase_if(connections, [&](const auto& connection) {
    if (!all && !connection->is_over) return false;
    connection->thread.join();
    return true;
  });
}

// All who were connected have left, and one had all: whether another one comes.
bool ImageServer::Impl::is_wanted(int listener) {
  if (!sys::wait_readable(listener, kLinger)) return false;
  const std::scoped_lock lock(mutex);
  stop = sys::make_pipe(O_CLOEXEC);
  return true;
}

ServerReport ImageServer::serve(int listener, Progress* progress) {
  ServerReport report;
  impl_->progress = progress;
  if (progress) progress->begin("sending");
  for (;;) {
    UniqueFd fd = sys::accept_tcp(listener, impl_->stop.read_end.get());
    if (!fd.valid() && !impl_->is_wanted(listener)) break;
    if (!fd.valid()) continue;
    impl_->end_over(false);
    ++report.connections;
    if (impl_->connections.size() == kMostConnections) {
      log::warning("server", "{}: there are too many already", sys::peer_text(fd.get()));
      continue;
    }
    auto& connection = *impl_->connections.emplace_back(std::make_unique<Connection>());
    connection.fd = std::move(fd);
    const sys::NoSignals not_for_threads;
    try {
      connection.thread = std::thread([this, &connection] { impl_->serve_one(connection); });
    } catch (const std::system_error& error) {
      log::warning("server", "{} cannot be served: {}", sys::peer_text(connection.fd.get()), error.what());
      impl_->connections.pop_back();
    }
  }
  impl_->end_over(true);
  report.bytes = impl_->sent;
  return report;
}

}  // namespace mcr::images
