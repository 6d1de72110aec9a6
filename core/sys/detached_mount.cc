#include "core/sys/detached_mount.h"

#include <fmt/format.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/sys/failure.h"

namespace mcr::sys {

namespace {

constexpr int kTurns = 50;
constexpr timespec kTurn{0, 20'000'000};

// nullopt: EBUSY, as fsconfig(2) says when it should have been made again by itself.
std::optional<UniqueFd> try_context(const std::string& type, std::span<const MountOption> options) {
  UniqueFd context(
      static_cast<int>(check(::syscall(SYS_fsopen, type.c_str(), FSOPEN_CLOEXEC), fmt::format("fsopen({})", type))));
  const auto configure = [&](unsigned command, const char* key, const char* value) {
    return ::syscall(SYS_fsconfig, context.get(), command, key, value, 0);
  };
  for (const auto& [key, value] : options)
    check(configure(value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key.c_str(), value ? value->c_str() : nullptr),
          fmt::format("mount {}: {}{}{}", type, key, value ? "=" : "", value.value_or("")));
  const long result = configure(FSCONFIG_CMD_CREATE, nullptr, nullptr);
  if (result < 0 && errno == EBUSY) return std::nullopt;
  check(result, fmt::format("mount {}", type));
  return context;
}

}  // namespace

UniqueFd mount_detached(const std::string& type, std::span<const MountOption> options) {
  for (int turn = 0; turn < kTurns; ++turn) {
    if (const auto context = try_context(type, options))
      return UniqueFd(static_cast<int>(
          check(::syscall(SYS_fsmount, context->get(), FSMOUNT_CLOEXEC, 0), fmt::format("fsmount({})", type))));
    ::nanosleep(&kTurn, nullptr);
  }
  throw_code(EBUSY, fmt::format("mount {}", type));
}

}  // namespace mcr::sys
