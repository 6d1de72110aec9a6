// What a process or a thread has besides memory and descriptors, one facet a file, both directions.
//
// Dump: ask() queues calls that only the program itself can make; collect() runs after they were executed. Restore:
// restore() queues what the new process or thread must do itself; finish() does from outside what can be done so.
// All are called by the engine's main thread while the tree is stopped.
#pragma once

#include <google/protobuf/any.pb.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "core/inject/session.h"
#include "core/procfs/status.h"
#include "images/proto/facets.pb.h"

namespace mcr::facets {

// A POSIX timer queues one signal, its own, and counts its further expiries in it (timer_getoverrun(2)). A copy of that
// signal would come on top; instead the timer expires once more in that signal's place in the queue.
struct TimerSignals {
  std::map<int, image::PosixTimer> timers;  // of the process, by id
  std::set<int> pending;                    // those whose signal waits to be taken
  std::map<int, int> users;                 // how many timers send a signal, by signal
  std::set<pid_t> threads;                  // of the process
  bool real = false;                        // time has passed meanwhile (--timers real): `gone_ns` since the dump
  int64_t gone_ns = 0;
  bool counted_ids = false;  // ids come by counting, so that only the leader may make timers, in order
};

struct ProcessView {
  HostPid pid;
  trace::Tracee& leader;
  const procfs::Status& status;
};

// Where restore() puts what is to be done, in this order: `early` before the other threads exist, `late` after them,
// `signals` when all timers are there, `last` when the process needs no more rights.
struct ProcessPlan {
  pid_t pid = 0;              // as the process sees it
  HostPid host;               // as we see it
  const procfs::Status& own;  // what it has so far
  inject::Batch& buffers;
  TimerSignals& timer_signals;
  inject::CallList early, late, signals, last;
};

class ProcessFacet {
 public:
  virtual ~ProcessFacet() = default;
  virtual void ask(inject::Batch& batch, const ProcessView& view) = 0;
  virtual void collect(const inject::Batch& batch, const ProcessView& view, google::protobuf::Any& out) = 0;
  // Before anything is created: throws Fault::image when the message is its own and holds what no kernel could have
  // had.
  virtual void check(const google::protobuf::Any&) const {}
  virtual bool restore(const google::protobuf::Any& from, ProcessPlan& plan) = 0;  // false: not mine
};
std::vector<std::unique_ptr<ProcessFacet>> process_facets();

struct ThreadView {
  HostPid pid;
  trace::Tracee& thread;
  const procfs::Status& status;
  const inject::ThreadProbe& probe;
  uint64_t timer_slack_ns = 0;
  sys::RseqConfiguration rseq{};
  uint64_t plain_mapping = 0;  // address of one that has no memory policy of its own
};

struct ThreadPlan {
  pid_t pid = 0, tid = 0;
  const procfs::Status& own;
  inject::Batch& buffers;
  TimerSignals& timer_signals;
  inject::CallList calls;                                    // by the thread itself, before it gets its registers
  inject::CallList last;                                     // likewise, after everything that needs rights
  std::vector<std::function<void(trace::Tracee&)>> outside;  // when the thread stands still
};

class ThreadFacet {
 public:
  virtual ~ThreadFacet() = default;
  virtual void dump(const ThreadView& view, google::protobuf::Any& out) = 0;
  virtual void check(const google::protobuf::Any&) const {}                       // as for a process
  virtual bool restore(const google::protobuf::Any& from, ThreadPlan& plan) = 0;  // false: not mine
};
std::vector<std::unique_ptr<ThreadFacet>> thread_facets();

// What can still be seen of a leader that has ended before other threads.
void dump_ended_thread(HostTid tid, const procfs::Status& status,
                       google::protobuf::RepeatedPtrField<google::protobuf::Any>& out);

}  // namespace mcr::facets
