#include "core/engine/checked_image.h"

#include <linux/capability.h>

#include "core/engine/image_check.h"

namespace mcr::engine {
namespace {

std::unique_ptr<images::ParentChain> open_parents(const images::ImageReader& reader) {
  auto chain = images::ParentChain::of(reader);
  if (chain) chain->check_runs(reader);
  return chain;
}

// For want of a right, or because it was asked for.
PidPlace pid_place(const Caller& caller, const RestoreOptions& options) {
  if (!caller.has_checkpoint_right) return {true, true};
  return {options.new_pids, options.new_pids && !caller.may(CAP_SYS_ADMIN)};
}

kinds::Validation validation_of(FileValidation wanted) {
  switch (wanted) {
    case FileValidation::none:
      return kinds::Validation::none;
    case FileValidation::filesize:
      return kinds::Validation::filesize;
    case FileValidation::buildid:
      return kinds::Validation::buildid;
  }
  return kinds::Validation::buildid;
}

}  // namespace

images::ImagePlace place_of_image(const RestoreOptions& options) {
  if (options.far) return options.far;
  return options.received ? images::ImagePlace(options.received) : options.images_dir;
}

void refuse_memory_only(const images::ImageReader& reader, const RestoreOptions& options) {
  if (reader.inventory().memory_only())
    throw Error(Fault::image,
                fmt::format("{} holds memory only: it was made by pre-dump, ahead of a dump", options.images_dir),
                "restore the image of the dump that was made after it, with --prev-images-dir");
}

kinds::RestorePolicy restore_policy(const RestoreOptions& options) {
  return {options.shell_job,     validation_of(options.validation),
          options.inherited,     options.timers == Timers::real,
          options.tcp_close,     options.lock_network,
          options.takes_masters, options.new_pids};
}

CheckedImage::CheckedImage(const images::ImageReader& image, const RestoreOptions& wanted)
    : reader(image),
      options(wanted),
      caller(identify_caller()),
      place(pid_place(caller, options)),
      processes(read_processes(reader)),
      parents(open_parents(reader)),
      cgroups(reader, options.cgroups),
      ipc(reader),
      gpu(reader, processes) {}

std::vector<Problem> CheckedImage::find_problems(const kinds::OpenedFiles& files) {
  std::vector<Problem> problems;
  cgroups.require_members(processes);
  if (!place.own_user)
    cgroups.check(problems);
  else if (options.cgroups.mode != tree::CgroupMode::ignore)
    problems.push_back(
        {"control groups", "need CAP_CHECKPOINT_RESTORE", "restore as root, or without --manage-cgroups"});
  check_host(reader.inventory(), processes, files, ipc, options, caller, place, problems);
  gpu.check(options, processes, problems);
  return problems;
}

}  // namespace mcr::engine
