// User and group ids, groups, the five capability sets, securebits, no_new_privs. Per thread, as the kernel keeps them.
// A new process has the engine's; only what differs is changed, so that a restore needs no right it does not use.
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>

#include "core/facets/factories.h"
#include "core/facets/value_check.h"
#include "core/sys/rights.h"
#include "images/proto/facets.pb.h"

namespace mcr::facets {
namespace {

constexpr uint64_t kNoSetuidFixup = 1 << 2;  // SECBIT_NO_SETUID_FIXUP: a change of uid leaves the capabilities alone
constexpr int kMostGroups = 65536;           // NGROUPS_MAX
constexpr int kCapabilities = 41;            // CAP_CHECKPOINT_RESTORE is the last as of 6.18

struct CapabilityHeader {
  uint32_t version = _LINUX_CAPABILITY_VERSION_3;
  int pid = 0;
};
struct CapabilityData {
  uint32_t effective, permitted, inheritable;
};

bool has_same_ids(const image::Credentials& m, const procfs::Status& own) {
  return std::array{m.uid(), m.euid(), m.suid(), m.fsuid()} == own.uid &&
         std::array{m.gid(), m.egid(), m.sgid(), m.fsgid()} == own.gid && std::ranges::equal(m.groups(), own.groups);
}

bool has_same_capabilities(const image::Credentials& m, const procfs::Status& own) {
  return m.cap_inheritable() == own.cap_inheritable && m.cap_permitted() == own.cap_permitted &&
         m.cap_effective() == own.cap_effective && m.cap_ambient() == own.cap_ambient &&
         (own.cap_bounding & ~m.cap_bounding()) == 0;
}

bool has_setpcap(const procfs::Status& own) {
  return own.cap_effective >> CAP_SETPCAP & 1;
}

// Only what differs: each of these may take a right.
void change_ids(const image::Credentials& m, const procfs::Status& own, ThreadPlan& plan) {
  auto& calls = plan.last;
  if (has_setpcap(own)) calls.add("prctl(PR_SET_SECUREBITS)", SYS_prctl, {PR_SET_SECUREBITS, kNoSetuidFixup, 0, 0, 0});
  const std::vector<uint32_t> groups(m.groups().begin(), m.groups().end());
  if (groups != own.groups)
    calls.add("setgroups", SYS_setgroups, {groups.size(), plan.buffers.put(std::as_bytes(std::span(groups))).get()});
  calls.add("setresgid", SYS_setresgid, {m.gid(), m.egid(), m.sgid()});
  calls.add("setfsgid", SYS_setfsgid, {m.fsgid()});
  calls.add("setresuid", SYS_setresuid, {m.uid(), m.euid(), m.suid()});
  calls.add("setfsuid", SYS_setfsuid, {m.fsuid()});
}

void set_capabilities(ThreadPlan& plan, uint64_t effective, uint64_t permitted, uint64_t inheritable) {
  const CapabilityData data[2] = {
      {static_cast<uint32_t>(effective), static_cast<uint32_t>(permitted), static_cast<uint32_t>(inheritable)},
      {static_cast<uint32_t>(effective >> 32), static_cast<uint32_t>(permitted >> 32),
       static_cast<uint32_t>(inheritable >> 32)}};
  plan.last.add("capset", SYS_capset,
                {plan.buffers.put_value(CapabilityHeader{}).get(), plan.buffers.put_value(data).get()});
}

void shrink_bounding_set(const image::Credentials& m, const procfs::Status& own, ThreadPlan& plan) {
  for (uint64_t cap = 0; cap < kCapabilities; ++cap) {
    const uint64_t bit = uint64_t{1} << cap;
    if ((own.cap_bounding & bit) && !(m.cap_bounding() & bit))
      plan.last.add("prctl(PR_CAPBSET_DROP)", SYS_prctl, {PR_CAPBSET_DROP, cap, 0, 0, 0});
  }
}

// What may be inheritable is limited by the bounding set, what may be ambient by a secure bit: so they come before
// these. The other sets come last, for CAP_SETPCAP is needed until then; who does not have it loses nothing by them.
// What leaves the permitted or inheritable set leaves the ambient set by itself (capabilities(7)).
void change_capabilities(const image::Credentials& m, const procfs::Status& own, ThreadPlan& plan) {
  auto& calls = plan.last;
  const bool full = has_setpcap(own);
  if (full)
    set_capabilities(plan, own.cap_effective, own.cap_permitted, m.cap_inheritable());
  else
    set_capabilities(plan, m.cap_effective(), m.cap_permitted(), m.cap_inheritable());
  shrink_bounding_set(m, own, plan);
  if (own.cap_ambient & ~m.cap_ambient())
    calls.add("prctl(PR_CAP_AMBIENT_CLEAR_ALL)", SYS_prctl, {PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0});
  for (uint64_t cap = 0; cap < kCapabilities; ++cap)
    if (m.cap_ambient() & (uint64_t{1} << cap))
      calls.add("prctl(PR_CAP_AMBIENT_RAISE)", SYS_prctl, {PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0});
  if (full || m.securebits() != sys::own_securebits())
    calls.add("prctl(PR_SET_SECUREBITS)", SYS_prctl, {PR_SET_SECUREBITS, m.securebits(), 0, 0, 0});
  if (full) set_capabilities(plan, m.cap_effective(), m.cap_permitted(), m.cap_inheritable());
}

void pack(const procfs::Status& s, uint32_t securebits, google::protobuf::Any& out) {
  image::Credentials message;
  message.set_uid(s.uid[0]), message.set_euid(s.uid[1]), message.set_suid(s.uid[2]), message.set_fsuid(s.uid[3]);
  message.set_gid(s.gid[0]), message.set_egid(s.gid[1]), message.set_sgid(s.gid[2]), message.set_fsgid(s.gid[3]);
  for (const uint32_t group : s.groups) message.add_groups(group);
  message.set_cap_inheritable(s.cap_inheritable);
  message.set_cap_permitted(s.cap_permitted);
  message.set_cap_effective(s.cap_effective);
  message.set_cap_bounding(s.cap_bounding);
  message.set_cap_ambient(s.cap_ambient);
  message.set_securebits(securebits);
  message.set_no_new_privs(s.no_new_privs);
  out.PackFrom(message);
}

class CredentialsFacet : public ThreadFacet {
 public:
  void dump(const ThreadView& view, google::protobuf::Any& out) override {
    pack(view.status, view.probe.securebits, out);
  }
  void check(const google::protobuf::Any& from) const override {
    image::Credentials m;
    if (!from.UnpackTo(&m)) return;
    // setresuid(2) takes -1 for "leave as it is": the process would keep the engine's.
    for (const uint32_t id : {m.uid(), m.euid(), m.suid(), m.fsuid()}) require_value(id != UINT32_MAX, "uid", id);
    for (const uint32_t id : {m.gid(), m.egid(), m.sgid(), m.fsgid()}) require_value(id != UINT32_MAX, "gid", id);
    require_value(m.groups_size() <= kMostGroups, "the number of groups", m.groups_size());
    for (const uint32_t id : m.groups()) require_value(id != UINT32_MAX, "groups", id);
    require_value(m.securebits() <= 0xff, "securebits", m.securebits());
    require_value((m.cap_effective() & ~m.cap_permitted()) == 0, "cap_effective", m.cap_effective());
    require_value((m.cap_ambient() & ~(m.cap_permitted() & m.cap_inheritable())) == 0, "cap_ambient", m.cap_ambient());
  }
  bool restore(const google::protobuf::Any& from, ThreadPlan& plan) override {
    image::Credentials message;
    if (!from.UnpackTo(&message)) return false;
    const bool same_ids = has_same_ids(message, plan.own);
    if (!same_ids) change_ids(message, plan.own, plan);
    if (!same_ids || !has_same_capabilities(message, plan.own) || message.securebits() != sys::own_securebits() ||
        (has_setpcap(plan.own) && message.securebits() != 0))
      change_capabilities(message, plan.own, plan);
    if (message.no_new_privs() && !plan.own.no_new_privs)
      plan.last.add("prctl(PR_SET_NO_NEW_PRIVS)", SYS_prctl, {PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0});
    return true;
  }
};

}  // namespace

void dump_ended_thread(HostTid, const procfs::Status& status,
                       google::protobuf::RepeatedPtrField<google::protobuf::Any>& out) {
  pack(status, 0, *out.Add());  // its securebits are not shown, and mean nothing any more
}

std::unique_ptr<ThreadFacet> make_credentials() {
  return std::make_unique<CredentialsFacet>();
}

}  // namespace mcr::facets
