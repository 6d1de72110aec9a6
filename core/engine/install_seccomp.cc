#include "core/engine/install_seccomp.h"

#include <linux/capability.h>
#include <sys/syscall.h>

#include <algorithm>
#include <map>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/failure.h"
#include "images/proto/facets.pb.h"

namespace mcr::engine {
namespace {

// A filter must not switch on mitigations that the program had not (SECCOMP_FILTER_FLAG_SPEC_ALLOW, 4.17); those that
// it had are restored by themselves.
constexpr uint64_t kThreadSync = 1, kLog = 2, kSpecAllow = 4;

trace::SeccompChain filters_of(const image::Seccomp& message, pid_t tid) {
  const auto bad = [&](const char* why) {
    throw Error(Fault::image, fmt::format("a seccomp filter of thread {} {}", tid, why));
  };
  trace::SeccompChain filters;
  for (const auto& filter : message.filters()) {
    if (filter.program().empty() || filter.program().size() % sizeof(sock_filter) != 0) bad("has an impossible size");
    if (filter.flags() & ~kLog) bad("has flags that are not known");
    std::vector<sock_filter> program(filter.program().size() / sizeof(sock_filter));
    std::memcpy(program.data(), filter.program().data(), filter.program().size());
    if (!trace::is_valid(program)) bad("is no valid program");
    filters.push_back({std::move(program), filter.flags()});
  }
  return filters;
}

bool is_same_filter(const trace::SeccompFilter& a, const trace::SeccompFilter& b) {
  return trace::is_same({a}, {b});
}

void must_install(int64_t result, pid_t tid) {
  if (result == 0) return;
  const Step step("install a seccomp filter in thread {}", tid);
  if (result > 0) throw Error(Fault::system, fmt::format("thread {} cannot have it", result));
  sys::throw_code(static_cast<int>(-result), "seccomp(SECCOMP_SET_MODE_FILTER)");
}

// Where the programs lie in the new process, each once.
class Programs {
 public:
  explicit Programs(inject::Batch& batch) : batch_(batch) {}
  RemoteAddr place(const trace::SeccompFilter& filter) {
    const std::string key(reinterpret_cast<const char*>(filter.program.data()),
                          filter.program.size() * sizeof(sock_filter));
    const auto known = placed_.find(key);
    if (known != placed_.end()) return known->second;
    struct {  // struct sock_fprog
      uint16_t length, pad[3];
      uint64_t program;
    } header{static_cast<uint16_t>(filter.program.size()), {}, batch_.put(std::as_bytes(std::span(key))).get()};
    return placed_[key] = batch_.put_value(header);
  }

 private:
  inject::Batch& batch_;
  std::map<std::string, RemoteAddr> placed_;
};

void make_last_calls(inject::NewProcess& process, trace::Tracee& thread, RemoteAddr gadget,
                     const inject::CallList& list) {
  for (size_t i = 0; i < list.calls().size(); ++i) {
    const parasite::Call& call = list.calls()[i];
    const int64_t result = process.call(thread, gadget, call.number, std::to_array(call.args));
    if (result < 0 && result >= -4095 && !(call.flags & parasite::kMayFail))
      sys::throw_code(static_cast<int>(-result), inject::describe_call(list.names()[i], call));
  }
}

}  // namespace

SeccompInstallation::SeccompInstallation(const tree::ProcessImage& image) {
  std::map<uint32_t, trace::SeccompChain> chains;
  for (const auto& core : image.threads) {
    Thread& thread = threads_.emplace_back();
    thread.ended = core.has_ended();
    if (!core.has_seccomp()) continue;
    const uint32_t number = core.seccomp().chain();
    if (!chains.contains(number)) chains[number] = filters_of(core.seccomp(), core.tid());
    thread.filters = chains[number];
    if (thread.filters.empty())
      throw Error(Fault::image, fmt::format("the seccomp filters of thread {} are missing", core.tid()));
    for (const auto& facet : core.facets()) {
      image::Credentials credentials;
      if (!facet.UnpackTo(&credentials)) continue;
      thread.no_new_privs = credentials.no_new_privs();
      thread.needs_rights = !thread.no_new_privs && !(credentials.cap_effective() >> CAP_SYS_ADMIN & 1);
    }
  }
  shared_ = count_shared();
}

bool SeccompInstallation::empty() const {
  return std::ranges::all_of(threads_, [](const Thread& thread) { return thread.filters.empty(); });
}

size_t SeccompInstallation::bytes() const {
  size_t bytes = 0;
  for (const Thread& thread : threads_)
    for (const auto& filter : thread.filters) bytes += filter.program.size() * sizeof(sock_filter) + 64;
  return bytes;
}

// Synchronising gives no_new_privs of the leader to all.
size_t SeccompInstallation::count_shared() const {
  const Thread& leader = threads_.front();
  if (threads_.size() == 1 || leader.ended) return 0;
  size_t shared = leader.filters.size();
  for (const Thread& thread : threads_) {
    if (leader.no_new_privs && !thread.no_new_privs) return 0;
    const auto [mine, theirs] = std::ranges::mismatch(leader.filters, thread.filters, is_same_filter);
    shared = std::min(shared, static_cast<size_t>(mine - leader.filters.begin()));
  }
  return shared;
}

void SeccompInstallation::install(inject::NewProcess& process, inject::Batch& batch, RemoteAddr gadget,
                                  const std::vector<ThreadWork>& work, const inject::CallList& process_last) const {
  if (empty()) return;
  const Step step("seccomp filters");
  for (size_t i = 0; i < threads_.size(); ++i)
    if (!threads_[i].filters.empty()) process.suspend_seccomp(*process.threads()[i]);
  batch.clear_calls();
  Programs programs(batch);
  const auto arguments = [&](size_t thread, size_t filter, bool sync) {
    const trace::SeccompFilter& f = threads_[thread].filters[filter];
    return std::array<uint64_t, 6>{SECCOMP_SET_MODE_FILTER, (f.flags & kLog) | kSpecAllow | (sync ? kThreadSync : 0),
                                   programs.place(f).get()};
  };
  for (size_t i = 1; i < threads_.size(); ++i)
    for (const auto& filter : threads_[i].filters) programs.place(filter);
  std::vector<size_t> installed;
  for (size_t k = 0; k < threads_.front().filters.size(); ++k) {
    const auto args = arguments(0, k, k < shared_);
    installed.push_back(batch.try_add("seccomp", SYS_seccomp, {args[0], args[1], args[2]}));
  }
  batch.add("getpid", SYS_getpid, {});  // a batch has at least one call; it brings the programs over
  process.channel().run(batch);
  for (const size_t call : installed) must_install(batch.result(call), work.front().plan.tid);
  for (size_t i = 1; i < threads_.size(); ++i) {
    trace::Tracee& thread = *process.threads()[i];
    const Step thread_step("thread {}", thread.tid());
    for (size_t k = shared_; k < threads_[i].filters.size(); ++k)
      must_install(process.call(thread, gadget, SYS_seccomp, arguments(i, k, false)), thread.tid().get());
    if (threads_[i].needs_rights) make_last_calls(process, thread, gadget, work[i].plan.last);
  }
  if (!threads_.front().needs_rights) return;
  batch.clear_calls();
  batch.append(work.front().plan.last);
  batch.append(process_last);
  if (!batch.empty()) process.channel().run(batch);
}

}  // namespace mcr::engine
