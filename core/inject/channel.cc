#include "core/inject/channel.h"

#include <sys/syscall.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/failure.h"
#include "core/sys/file.h"

namespace mcr::inject {

using parasite::Call;
using parasite::Control;
using parasite::Doorbell;
using parasite::Reply;

Channel::Channel(HostPid pid, UniqueFd socket, RemoteAddr base, size_t data_bytes)
    : pid_(pid),
      socket_(std::move(socket)),
      base_(base),
      area_{base + parasite::kBatchOffset,
            data_bytes - (parasite::kBatchOffset - parasite::kDataOffset) - parasite::kStackBytes} {}

void Channel::go() {
  const char byte = 1;
  sys::send_message(socket_.get(), &byte, 1);
}

std::optional<Reply> Channel::await_message() {
  using std::chrono::milliseconds;
  const auto give_up = sys::Clock::now() + limit_;
  for (bool met = false;;) {
    Reply reply{};
    // One stop is followed by another: that of the process after that for SIGSTOP.
    const auto got = sys::receive_message(socket_.get(), &reply, sizeof reply,
                                          sys::Clock::now() + (met ? milliseconds(1) : milliseconds(100)));
    if (got && *got == sizeof reply) {
      is_idle_ = true;
      return reply;
    }
    if (got) return std::nullopt;
    // A stop signal from outside puts the borrowed thread into a group stop: under ptrace it may run on all the same.
    if (tracee_ != nullptr && !(desk_ ? desk_->keep_running(*tracee_, met) : tracee_->keep_running(met)))
      throw Error(Fault::system, fmt::format("process {} ended meanwhile", pid_));
    if (sys::Clock::now() > give_up)
      throw Error(Fault::timeout, fmt::format("process {} did not answer in time", pid_));
  }
}

// It may have been stopped to be looked at.
void Channel::wake() {
  if (tracee_ != nullptr && tracee_->stopped()) tracee_->run();
}

Reply Channel::await_reply() {
  const auto reply = await_message();
  if (!reply) throw Error(Fault::system, fmt::format("process {} ended meanwhile", pid_));
  return *reply;
}

void Channel::start_last(Batch& batch) {
  start(batch);
  if (await_message()) throw Error(Fault::system, fmt::format("process {} did not close its socket", pid_));
}

void Channel::start(Batch& batch) {
  if (!batch.has_room_for(0))
    throw Error(Fault::internal, fmt::format("a batch of {} bytes exceeds its area", batch.bytes()));
  for (size_t i = 0; guard_ && i < batch.calls_.size(); ++i) guard_(batch.names_[i], batch.calls_[i]);
  if (!batch.data_.empty()) sys::write_memory(pid_, batch.area_.base, batch.data_.data(), batch.data_.size());
  const RemoteAddr calls = batch.area_.base + batch.data_.size();
  sys::write_memory(pid_, calls, batch.calls_.data(), batch.calls_.size() * sizeof(Call));
  const Doorbell bell{parasite::kRun, static_cast<uint32_t>(batch.calls_.size()), calls.get()};
  is_idle_ = false;
  wake();
  sys::send_message(socket_.get(), &bell, sizeof bell);
}

bool Channel::has_answer() const {
  return sys::wait_readable(socket_.get(), 0);
}

void Channel::finish(Batch& batch) {
  const Reply reply = await_reply();
  if (!batch.data_.empty()) sys::read_memory(pid_, batch.area_.base, batch.data_.data(), batch.data_.size());
  const RemoteAddr calls = batch.area_.base + batch.data_.size();
  sys::read_memory(pid_, calls, batch.calls_.data(), batch.calls_.size() * sizeof(Call));
  if (reply.executed == 0 || reply.executed > batch.calls_.size())
    throw Error(Fault::internal, fmt::format("{} of {} calls were executed", reply.executed, batch.calls_.size()));
  const Call& last = batch.calls_[reply.executed - 1];
  const bool failed = last.result < 0 && last.result >= -4095 && !(last.flags & parasite::kMayFail);
  if (failed) sys::throw_code(static_cast<int>(-last.result), describe_call(batch.names_[reply.executed - 1], last));
}

void Channel::run(Batch& batch) {
  if (batch.empty()) return;
  start(batch);
  finish(batch);
}

std::vector<int> Channel::pass(uint32_t command, std::span<const int> fds) {
  const Doorbell bell{command, 0, 0};
  is_idle_ = false;
  wake();
  sys::send_message(socket_.get(), &bell, sizeof bell);
  const uint64_t payload = 0;
  sys::send_message(socket_.get(), &payload, sizeof payload, fds);
  const Reply reply = await_reply();
  if (reply.executed != fds.size())
    throw Error(Fault::system, fmt::format("process {} took {} of {} descriptors", pid_, reply.executed, fds.size()),
                "raise its limit of open files (RLIMIT_NOFILE)");
  std::vector<int> numbers(fds.size());
  sys::read_memory(pid_, base_ + parasite::kDataOffset + offsetof(Control, received), numbers.data(),
                   numbers.size() * sizeof(int));
  return numbers;
}

std::vector<int> Channel::send(std::span<const int> fds) {
  return pass(parasite::kReceive, fds);
}

int Channel::lend(int fd) {
  has_lent_ = true;
  return pass(parasite::kBorrow, std::span(&fd, 1)).front();
}

std::pair<UniqueFd, int> Channel::take_made(const char* what, long number, std::initializer_list<uint64_t> args,
                                            int pidfd) {
  Batch made = batch();
  made.add(what, number, args, parasite::kMayFail | parasite::kMakesLent);
  run(made);
  const int64_t result = made.result(0);
  if (result < 0) return {UniqueFd(), static_cast<int>(-result)};
  UniqueFd file = sys::get_fd(pidfd, static_cast<int>(result));
  Batch closing = batch();
  closing.add("close", SYS_close, {static_cast<uint64_t>(result)}, parasite::kClosesLent);
  run(closing);
  return {std::move(file), 0};
}

std::vector<int> Channel::send_all(std::span<const int> fds) {
  std::vector<int> remote;
  for (size_t at = 0; at < fds.size(); at += parasite::kMaxDescriptors) {
    const auto some = send(fds.subspan(at, std::min<size_t>(parasite::kMaxDescriptors, fds.size() - at)));
    remote.insert(remote.end(), some.begin(), some.end());
  }
  return remote;
}

}  // namespace mcr::inject
