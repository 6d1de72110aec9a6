// Values in the messages of facets that no kernel could have had: refused by name, before anything is created.
#include <signal.h>
#include <sys/resource.h>

#include "core/base/bounds.h"
#include "core/facets/facet.h"
#include "images/proto/facets.pb.h"
#include "tests/unit/images_sample.h"

namespace mcr::facets {
namespace {

using images::sample::error_of;

// What the facets say to a message, as one of a process and as one of a thread.
std::string check(const google::protobuf::Message& message) {
  google::protobuf::Any any;
  any.PackFrom(message);
  std::string text = error_of([&] {
    for (const auto& facet : process_facets()) facet->check(any);
  });
  if (!text.empty()) return text;
  return error_of([&] {
    for (const auto& facet : thread_facets()) facet->check(any);
  });
}

template <typename Message, typename Change>
void expect_refused(Change change, const std::string& expected) {
  Message message;
  EXPECT_EQ(check(message), "");
  change(message);
  const std::string text = check(message);
  EXPECT_NE(text.find(expected), std::string::npos) << "expected: " << expected << "\nsaid: " << text;
}

TEST(FacetsBadValues, SignalActions) {
  using Message = image::SignalActions;
  for (const int signal : {0, -1, 65, SIGKILL, SIGSTOP})
    expect_refused<Message>([&](auto& m) { m.add_actions()->set_signal(signal); },
                            fmt::format("signal cannot be {}", signal));
  const auto one = [](auto& m) {
    auto* action = m.add_actions();
    action->set_signal(1);
    return action;
  };
  expect_refused<Message>([&](auto& m) { one(m)->set_handler(1ULL << 63); }, "handler cannot be");
  expect_refused<Message>([&](auto& m) { one(m)->set_restorer(bounds::kTaskSize); }, "restorer cannot be");
  expect_refused<Message>(
      [&](auto& m) {
        for (int i = 0; i < 65; ++i) one(m);
      },
      "the number of actions cannot be 65");
}

TEST(FacetsBadValues, PendingSignals) {
  using Message = image::PendingSignals;
  siginfo_t info{};
  const auto bytes = [&](int signal) {
    info.si_signo = signal;
    return std::string(reinterpret_cast<const char*>(&info), sizeof info);
  };
  expect_refused<Message>([](auto& m) { m.add_siginfo("short"); }, "wrong size");
  for (const int signal : {0, -1, 65, SIGKILL})
    expect_refused<Message>([&](auto& m) { m.add_siginfo(bytes(signal)); }, fmt::format("pending signal {}", signal));
}

TEST(FacetsBadValues, Timers) {
  using Interval = image::IntervalTimers;
  using Posix = image::PosixTimers;
  for (const int which : {-1, 3})
    expect_refused<Interval>([&](auto& m) { m.add_timers()->set_which(which); }, "which cannot be");
  expect_refused<Interval>([](auto& m) { m.add_timers()->set_value_us(-1); }, "value_us cannot be -1");
  expect_refused<Interval>([](auto& m) { m.add_timers()->set_interval_us(INT64_MIN); }, "interval_us cannot be");
  const auto one = [](auto& m) {
    auto* timer = m.add_timers();
    timer->set_signal(SIGALRM);
    return timer;
  };
  expect_refused<Posix>([&](auto& m) { one(m)->set_id(-1); }, "id cannot be -1");
  expect_refused<Posix>([&](auto& m) { one(m), one(m); }, "id cannot be 0");
  expect_refused<Posix>([&](auto& m) { one(m)->set_notify(3); }, "notify cannot be 3");
  expect_refused<Posix>([&](auto& m) { one(m)->set_signal(65); }, "signal cannot be 65");
  expect_refused<Posix>([&](auto& m) { one(m)->set_notify_tid(-1); }, "notify_tid cannot be -1");
  expect_refused<Posix>([&](auto& m) { one(m)->set_value_ns(-1); }, "value_ns cannot be -1");
  expect_refused<Posix>([&](auto& m) { one(m)->set_interval_ns(-1); }, "interval_ns cannot be -1");
}

TEST(FacetsBadValues, LimitsAndControl) {
  using Limits = image::ResourceLimits;
  using Control = image::ProcessControl;
  for (const int resource : {-1, 16, INT32_MAX})
    expect_refused<Limits>([&](auto& m) { m.add_limits()->set_resource(resource); },
                           fmt::format("resource cannot be {}", resource));
  expect_refused<Limits>([](auto& m) { m.add_limits()->set_soft(1); }, "soft (above hard) cannot be 1");
  expect_refused<Control>([](auto& m) { m.set_dumpable(3); }, "dumpable cannot be 3");
  expect_refused<Control>([](auto& m) { m.set_mdwe(4); }, "mdwe cannot be 4");
  expect_refused<Control>([](auto& m) { m.set_oom_score_adj(-1001); }, "oom_score_adj cannot be -1001");
  expect_refused<Control>([](auto& m) { m.set_coredump_filter(0x200); }, "coredump_filter cannot be");
}

TEST(FacetsBadValues, ThreadState) {
  using image::SignalState, image::ThreadControl, image::ThreadPointers;
  expect_refused<SignalState>([](auto& m) { m.set_altstack_address(UINT64_MAX), m.set_altstack_size(4096); },
                              "altstack_size cannot be 4096");
  expect_refused<SignalState>([](auto& m) { m.set_altstack_flags(8); }, "altstack_flags cannot be 8");
  expect_refused<ThreadPointers>([](auto& m) { m.set_clear_child_tid(UINT64_MAX); }, "clear_child_tid cannot be");
  expect_refused<ThreadPointers>([](auto& m) { m.set_robust_list(64); }, "robust_list_length cannot be 0");
  expect_refused<ThreadPointers>([](auto& m) { m.set_rseq_address(7); }, "rseq_address cannot be 7");
  expect_refused<ThreadPointers>([](auto& m) { m.set_rseq_address(1ULL << 47); }, "rseq_address cannot be");
  expect_refused<ThreadPointers>([](auto& m) { m.set_rseq_flags(1); }, "rseq_flags cannot be 1");
  expect_refused<ThreadControl>([](auto& m) { m.set_parent_death_signal(65); }, "parent_death_signal cannot be 65");
  expect_refused<ThreadControl>([](auto& m) { m.set_parent_death_signal(-1); }, "parent_death_signal cannot be -1");
}

// -1 means "leave as it is" to setresuid(2): the process would keep the user of whoever restores.
TEST(FacetsBadValues, Credentials) {
  using Message = image::Credentials;
  expect_refused<Message>([](auto& m) { m.set_euid(UINT32_MAX); }, "uid cannot be 4294967295");
  expect_refused<Message>([](auto& m) { m.set_fsgid(UINT32_MAX); }, "gid cannot be 4294967295");
  expect_refused<Message>([](auto& m) { m.add_groups(UINT32_MAX); }, "groups cannot be");
  expect_refused<Message>(
      [](auto& m) {
        for (int i = 0; i <= 65536; ++i) m.add_groups(5);
      },
      "the number of groups cannot be 65537");
  expect_refused<Message>([](auto& m) { m.set_securebits(256); }, "securebits cannot be 256");
  expect_refused<Message>([](auto& m) { m.set_cap_effective(1); }, "cap_effective cannot be 1");
  expect_refused<Message>([](auto& m) { m.set_cap_ambient(1); }, "cap_ambient cannot be 1");
}

TEST(FacetsBadValues, Scheduling) {
  using Message = image::Scheduling;
  expect_refused<Message>([](auto& m) { m.set_policy(8); }, "policy cannot be 8");
  expect_refused<Message>([](auto& m) { m.set_nice(-21); }, "nice cannot be -21");
  expect_refused<Message>([](auto& m) { m.set_priority(100); }, "priority cannot be 100");
  expect_refused<Message>([](auto& m) { m.set_affinity(std::string(2000, 'a')); }, "affinity's size cannot be 2000");
  expect_refused<Message>([](auto& m) { m.set_ioprio(-1); }, "ioprio cannot be -1");
}

}  // namespace
}  // namespace mcr::facets
