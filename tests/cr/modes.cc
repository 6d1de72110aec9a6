// What each mode does.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/cr/scenario.h"

namespace cr {

namespace {
constexpr int64_t kSecond = 1'000'000'000;
constexpr int kMomentsPerPart = 3;
}  // namespace

void Scenario::run(const std::string& mode) {
  if (mode == "killed_dump") setenv("MCR_DUMP_IS_KILLED", "1", 1);  // for the program: see blocked_sigwaitinfo
  start();
  if (mode == "stopped") return stopped();
  remember();
  if (mode == "native") return native();
  if (mode == "go_on") return go_on();
  if (mode == "live") return live();
  if (mode == "lazy") return lazy();
  if (mode == "restore") return restored(1);
  if (mode == "twice") return restored(2);
  if (mode == "diff") return compared();
  if (mode == "killed_dump") return killed_dump();
  if (mode == "killed_restore") return killed_restore();
  throw Failure("there is no mode " + mode);
}

void Scenario::note_gone(const EngineRun& dumped, const EngineRun& back) {
  gone_ += "gone " + std::to_string(dumped.started_ns) + " " + std::to_string(dumped.ended_ns) + " " +
           std::to_string(back.started_ns) + " " + std::to_string(back.ended_ns) + "\n";
}

// Nothing is done to the program: proves the workload, and that its visible state keeps still.
void Scenario::native() {
  sleep_ns(50'000'000);
  expect_unharmed("nothing");
  finish();
}

void Scenario::go_on() {
  std::string images = directory_ + "/images";
  expect_success(dump(images, true, false));
  expect_unharmed("dump -R");
  expect_no_helpers("dump -R");
  expect_success(run_engine({"verify", images}));
  sleep_ns(50'000'000);
  expect_unharmed("dump -R and 50 ms");
  finish();
}

// A dump out of a copy of the memory: the program does not notice it, and comes back from that image when it has ended.
void Scenario::live() {
  const std::string images = directory_ + "/images-live";
  dump_options_.push_back("--live");
  EngineRun dumped = dump(images, true, false);
  dump_options_.pop_back();
  expect_success(dumped);
  expect_no_helpers("dump --live");
  expect_unharmed("dump --live");
  expect_success(run_engine({"verify", images}));
  expect_success(dump(directory_ + "/images-end", false, false));
  expect_gone();
  if (settle_ns_) sleep_ns(kSecond / 5);
  EngineRun back = restore(images);
  expect_success(back);
  note_gone(dumped, back);
  expect_unharmed("dump --live and restore");
  finish();
}

// Its memory comes when it runs already. When all is there, nothing of that is left.
void Scenario::lazy() {
  const std::string images = directory_ + "/images-lazy";
  EngineRun dumped = dump(images, false, false);
  expect_success(dumped);
  expect_gone();
  if (settle_ns_) sleep_ns(kSecond / 5);
  restore_options_.push_back("--lazy-pages");
  EngineRun back = restore(images);
  restore_options_.pop_back();
  expect_success(back);
  note_gone(dumped, back);
  expect_no_helpers("restore --lazy-pages");
  expect_unharmed("restore --lazy-pages");
  finish();
}

void Scenario::dump_kill_restore(const std::string& images, bool sync) {
  EngineRun dumped = dump(images, false, sync);
  expect_success(dumped);
  expect_gone();
  expect_no_helpers("dump");
  if (settle_ns_) sleep_ns(kSecond / 5);
  EngineRun back = restore(images);
  expect_success(back);
  note_gone(dumped, back);
  expect_unharmed("restore");
  expect_no_helpers("restore");
}

void Scenario::restored(int rounds) {
  for (int round = 0; round < rounds; ++round) {
    std::string images = directory_ + "/images-" + std::to_string(round);
    dump_kill_restore(images, rounds == 1);
    if (round == 0) expect_success(run_engine({"verify", images}));
    if (rounds > 1) {
      settle();
      remember();  // it has run since, and may have touched a page more of its stack
    }
  }
  finish();
}

// A program stopped by SIGSTOP stays stopped, in a dump that lets it live and over a restore.
void Scenario::stopped() {
  kill(pid_, SIGSTOP);
  is_stopped_ = true;
  if (!wait_until(2 * kSecond, [&] { return capture_tree(pid_, true).trouble.empty(); }))
    throw Failure("SIGSTOP did not stop the program");
  remember();
  expect_success(dump(directory_ + "/images", true, false));
  expect_unharmed("dump -R of the stopped program");
  dump_kill_restore(directory_ + "/images-stopped", false);
  sleep_ns(100'000'000);
  expect_unharmed("restore of the stopped program and 100 ms");
  kill(pid_, SIGCONT);
  is_stopped_ = false;
  if (!wait_until(2 * kSecond, [&] { return capture_tree(pid_, false).trouble.empty(); }))
    throw Failure("SIGCONT did not wake the program");
  finish();
}

// Dump, restore without letting it run, dump again: the second image holds what the first holds. Then the first goes
// on.
void Scenario::compared() {
  std::string first = directory_ + "/images-first", second = directory_ + "/images-second";
  EngineRun dumped = dump(first, false, false);
  expect_success(dumped);
  expect_gone();
  if (settle_ns_) sleep_ns(kSecond / 5);
  expect_success(restore(first, -1, true));
  expect_success(dump(second, false, false));
  expect_gone();
  expect_no_helpers("the second dump");
  expect_same(first, second);
  EngineRun back = restore(first);
  expect_success(back);
  note_gone(dumped, back);
  expect_unharmed("restore");
  finish();
}

void Scenario::killed_dump() {
  EngineRun whole = dump(directory_ + "/images-measured", true, false);
  expect_success(whole);
  expect_unharmed("dump -R");
  for (int i = 0; i < 3 * kMomentsPerPart; ++i) {
    std::string images = directory_ + "/images-" + std::to_string(i);
    int64_t when = moment(i / kMomentsPerPart, 3, whole.took());
    std::string what =
        "the dump was killed after " + std::to_string(when / 1000) + " us of " + std::to_string(whole.took() / 1000);
    dump(images, true, false, when);
    expect_no_helpers(what);
    expect_unharmed(what);
    expect_image_whole_or_absent(images);
  }
  for (int i = 0; i < 3; ++i) kill_engine_of_ending_dump(i, whole.took());
  dump_kill_restore(directory_ + "/images-last", false);
  finish();
}

// The same for a dump that ends the program: afterwards it lives unharmed, or it is whole in the image.
void Scenario::kill_engine_of_ending_dump(int index, int64_t whole) {
  std::string images = directory_ + "/images-ending-" + std::to_string(index);
  EngineRun dumped = dump(images, false, false, moment(index, 3, whole));
  std::string what = "a dump without -R was killed";
  expect_no_helpers(what);
  std::optional<int> ended;
  if (!wait_until(kSecond / 10, [&] { return (ended = reap(pid_)).has_value(); })) {
    expect_unharmed(what);
    expect_image_whole_or_absent(images);
    return;
  }
  if (!wait_until(5 * kSecond, [&] { return is_all_gone(); })) throw Failure(what + " late: a part of the tree lives");
  EngineRun back = restore(images);
  expect_success(back);
  note_gone(dumped, back);
  expect_unharmed(what + " late, and a restore");
}

void Scenario::killed_restore() {
  std::string images = directory_ + "/images";
  EngineRun dumped = dump(images, false, false);
  expect_success(dumped);
  expect_gone();
  EngineRun whole = restore(images);
  expect_success(whole);
  expect_unharmed("restore");
  for (int i = 0; i <= 3 * kMomentsPerPart; ++i) {
    // What the previous restore brought back, if it came that far, makes room for the next.
    kill_all();
    // Of a half-built tree these may be children of its root until that is gone.
    expect_no_helpers("all was killed");
    if (i == 3 * kMomentsPerPart) break;
    int64_t when = moment(i / kMomentsPerPart, 3, whole.took());
    restore(images, when);
    std::string what =
        "the restore was killed after " + std::to_string(when / 1000) + " us of " + std::to_string(whole.took() / 1000);
    expect_no_helpers(what);
    std::string found;
    bool settled = wait_until(5 * kSecond, [&] {
      if (is_all_gone()) return true;
      found = difference(before_, capture_tree(pid_, false), loose_);
      return found.empty();
    });
    if (!settled) throw Failure("something half-built is left when " + what + ":\n" + found);
  }
  EngineRun back = restore(images);
  expect_success(back);
  note_gone(dumped, back);
  expect_unharmed("the last restore");
  expect_no_helpers("the last restore");
  finish();
}

}  // namespace cr
