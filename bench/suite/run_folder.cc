#include "bench/suite/run_folder.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "bench/suite/process.h"

namespace bench {
namespace {

void remove_folder(const std::string& path) {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

}  // namespace

RunFolder::RunFolder(const std::string& parent) : path_(parent + "/compare-XXXXXX") {
  if (!mkdtemp(path_.data())) throw Failure("cannot make a folder in " + parent);
}

RunFolder::~RunFolder() {
  remove_folder(path_);
}

void end_cleanly_on_signals(std::vector<std::string> folders) {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([signals, folders = std::move(folders)] {
    int number = 0;
    while (sigwait(&signals, &number) != 0) continue;
    end_tree_below_us();
    for (const std::string& folder : folders) remove_folder(folder);
    _exit(128 + number);
  }).detach();
}

}  // namespace bench
