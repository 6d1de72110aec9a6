// Distinct types for numbers that must not be mixed up.
#pragma once

#include <fmt/format.h>
#include <sys/types.h>

#include <compare>
#include <cstdint>

namespace mcr {

template <typename Tag, typename Number>
class Id {
 public:
  constexpr Id() = default;
  constexpr explicit Id(Number value) : value_(value) {}
  constexpr Number get() const { return value_; }
  auto operator<=>(const Id&) const = default;

 private:
  Number value_{};
};

using HostPid = Id<struct HostPidTag, pid_t>;       // a process, numbered in the engine's pid namespace
using HostTid = Id<struct HostTidTag, pid_t>;       // a thread, numbered in the engine's pid namespace
using NsPid = Id<struct NsPidTag, pid_t>;           // as the program itself sees it
using ObjectId = Id<struct ObjectIdTag, uint32_t>;  // a shareable object inside one image

// An address in another process; never dereferenced here.
class RemoteAddr {
 public:
  constexpr RemoteAddr() = default;
  constexpr explicit RemoteAddr(uint64_t value) : value_(value) {}
  constexpr uint64_t get() const { return value_; }
  constexpr RemoteAddr operator+(uint64_t bytes) const { return RemoteAddr(value_ + bytes); }
  auto operator<=>(const RemoteAddr&) const = default;

 private:
  uint64_t value_ = 0;
};

}  // namespace mcr

template <typename Tag, typename Number>
struct fmt::formatter<mcr::Id<Tag, Number>> : fmt::formatter<Number> {
  template <typename Context>
  auto format(mcr::Id<Tag, Number> id, Context& context) const {
    return fmt::formatter<Number>::format(id.get(), context);
  }
};
template <>
struct fmt::formatter<mcr::RemoteAddr> : fmt::formatter<uint64_t> {
  template <typename Context>
  auto format(mcr::RemoteAddr addr, Context& context) const {
    return fmt::format_to(context.out(), "{:#x}", addr.get());
  }
};
