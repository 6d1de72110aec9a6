// cuCheckpointProcess*(), as called by whoever saves a program: each is a request to a thread of that program, which
// must be able to run.
#include <signal.h>
#include <sys/mman.h>

#include <chrono>
#include <cstring>

#include "tests/fake_cuda/devices.h"
#include "tests/fake_cuda/mailbox.h"

namespace fake_cuda {
namespace {

constexpr int kSuccess = 0, kInvalidValue = 1, kUnknown = 999;
constexpr int kPatienceMs = 3'000;  // then the thread cannot run

struct RestoreArguments {
  const Pair* pairs;
  unsigned count;
};

class Connection {
 public:
  explicit Connection(int pid) : box_(::kill(pid, 0) == 0 ? map_mailbox(mailbox_path(pid), false) : nullptr) {}
  ~Connection() {
    if (box_) ::munmap(box_, 4096);
  }
  Mailbox* operator->() const { return box_; }
  explicit operator bool() const { return box_; }

  int ask(Request request, int patience_ms = kPatienceMs) const {
    box_->request = request;
    const uint32_t number = box_->knock.fetch_add(1) + 1;
    futex_wake(box_->knock);
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms + box_->timeout_ms);
    for (uint32_t seen; (seen = box_->answer.load()) != number;) {
      if (std::chrono::steady_clock::now() > end) {
        box_->request = Request::none;  // it must not do it later
        return kUnknown;
      }
      futex_wait(box_->answer, seen, 100);
    }
    return box_->result;
  }

 private:
  Mailbox* box_;
};

template <typename Fill>
int call(const char* name, int pid, Request request, const Fill& fill) {
  const Connection connection(pid);
  int result = fault_of(name);
  if (!connection) result = kInvalidValue;
  if (result == kSuccess) {
    connection->timeout_ms = 0, connection->pair_count = 0;
    fill(*connection.operator->());
    result = connection.ask(request);
  }
  note_call(name, pid, result);
  return result;
}

}  // namespace
}  // namespace fake_cuda

using namespace fake_cuda;

extern "C" {

// Of one that cannot run: what it was last.
int cuCheckpointProcessGetState(int pid, int* state) {
  if (const int result = fault_of("state")) return result;
  const Connection connection(pid);
  if (!connection) return kInvalidValue;
  connection->timeout_ms = 0;
  connection.ask(Request::state, 300);
  *state = connection->last_state;
  return kSuccess;
}

int cuCheckpointProcessGetRestoreThreadId(int pid, int* tid) {
  const Connection connection(pid);
  if (!connection) return kInvalidValue;
  *tid = connection->restore_thread;
  return kSuccess;
}

int cuCheckpointProcessLock(int pid, const uint32_t* arguments) {
  return call("lock", pid, Request::lock, [&](Mailbox& box) { box.timeout_ms = arguments ? arguments[0] : 0; });
}

int cuCheckpointProcessCheckpoint(int pid, void*) {
  return call("checkpoint", pid, Request::checkpoint, [](Mailbox&) {});
}

int cuCheckpointProcessRestore(int pid, const RestoreArguments* arguments) {
  return call("restore", pid, Request::restore, [&](Mailbox& box) {
    box.pair_count = arguments ? arguments->count : 0;
    for (uint32_t i = 0; i < box.pair_count && i < 16; ++i) box.pairs[i] = arguments->pairs[i];
  });
}

int cuCheckpointProcessUnlock(int pid, void*) {
  return call("unlock", pid, Request::unlock, [](Mailbox&) {});
}
}
