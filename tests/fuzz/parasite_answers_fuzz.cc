// Fuzz target of a dump's other side: a program whose memory holds anything when the engine reads the answers of its
// parasite there, and whose files of /proc say anything. The facets collect from it, the channel counts.
#include <google/protobuf/stubs/logging.h>

#include <cstring>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/facets/facet.h"
#include "core/inject/channel.h"
#include "core/sys/file.h"
#include "tests/fuzz/seam/world.h"

namespace {

using namespace mcr;
using fuzz::require;
using fuzz::World;

constexpr pid_t kPid = 4711;

void make_process(World& world) {
  fuzz::FakeProcess& process = world.process.emplace();
  process.pid = kPid;
  process.base = 0x10000000;
  process.end = process.base + (1 << 18);
  process.memory = sys::make_memfd("memory");
  process.tasks[kPid];
}

// What a facet makes of the answers must be something that a restore can read again.
template <typename Facet, typename Use>
void collect(Facet& facet, Use use) {
  google::protobuf::Any packed;
  try {
    use(facet, packed);
  } catch (const Error& error) {
    require(!error.reason().empty(), "an error without a reason");
  }
}

void collect_all(inject::Channel& channel, trace::Tracee& leader, const procfs::Status& status) {
  const facets::ProcessView view{HostPid(kPid), leader, status};
  for (const auto& facet : facets::process_facets())
    collect(*facet, [&](facets::ProcessFacet& f, google::protobuf::Any& out) {
      inject::Batch batch = channel.batch();
      f.ask(batch, view);
      channel.run(batch);
      f.collect(batch, view, out);
    });
  inject::ThreadProbe probe;
  fuzz::read_process_memory(*World::get().process, 0x10000000, &probe, sizeof probe);
  // The engine makes a bool of the answer: never another byte than these two.
  unsigned char faults = 0;
  std::memcpy(&faults, &probe.faults_cpuid, 1);
  probe.faults_cpuid = faults != 0;
  const facets::ThreadView thread{HostPid(kPid), leader, status, probe};
  for (const auto& facet : facets::thread_facets())
    collect(*facet, [&](facets::ThreadFacet& f, google::protobuf::Any& out) { f.dump(thread, out); });
}

void pass_descriptors(inject::Channel& channel) {
  const int fds[] = {0, 1};
  try {
    require(channel.send(fds).size() == 2, "descriptors without numbers");
  } catch (const Error& error) {
    require(!error.reason().empty(), "an error without a reason");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const google::protobuf::LogSilencer silencer;
  static const bool started = [] {
    log::start({.level = log::Level::message, .ring_lines = 0});
    fuzz::forbid_effects();
    return true;
  }();
  if (size < 4) return 0;
  World& world = World::get();
  world.reset();
  make_process(world);
  world.answers.assign(reinterpret_cast<const char*>(data), size);
  Damage damage;
  const auto leader = trace::Tracee::seize(HostTid(kPid), 0, damage);
  leader->abandon();
  inject::Channel channel(HostPid(kPid), sys::make_memfd("socket"), RemoteAddr(0x10000000), 1 << 18);
  procfs::Status status;
  status.sig_pending = data[0];
  status.shared_pending = data[1];
  collect_all(channel, *leader, status);
  pass_descriptors(channel);
  return started ? 0 : 1;
}
