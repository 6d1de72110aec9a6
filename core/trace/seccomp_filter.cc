#include "core/trace/seccomp_filter.h"

#include <linux/audit.h>

#include <algorithm>
#include <cstring>
#include <optional>

namespace mcr::trace {
namespace {

constexpr uint32_t kUserNotif = 0x7fc00000;    // SECCOMP_RET_USER_NOTIF, 5.0
constexpr uint32_t kKillProcess = 0x80000000;  // SECCOMP_RET_KILL_PROCESS, 4.14
constexpr uint32_t kActionFull = 0xffff0000;

bool is_memory_slot(uint32_t k) {
  return k < BPF_MEMWORDS;
}

bool is_valid_instruction(const sock_filter& f, size_t at, size_t count) {
  const size_t left = count - at - 1;
  switch (f.code) {
    case BPF_LD | BPF_W | BPF_ABS:
      return f.k % 4 == 0 && f.k < sizeof(seccomp_data);
    case BPF_LD | BPF_MEM:
    case BPF_LDX | BPF_MEM:
    case BPF_ST:
    case BPF_STX:
      return is_memory_slot(f.k);
    case BPF_ALU | BPF_DIV | BPF_K:
      return f.k != 0;
    case BPF_ALU | BPF_LSH | BPF_K:
    case BPF_ALU | BPF_RSH | BPF_K:
      return f.k < 32;
    case BPF_JMP | BPF_JA:
      return f.k < left;
    case BPF_JMP | BPF_JEQ | BPF_K:
    case BPF_JMP | BPF_JEQ | BPF_X:
    case BPF_JMP | BPF_JGE | BPF_K:
    case BPF_JMP | BPF_JGE | BPF_X:
    case BPF_JMP | BPF_JGT | BPF_K:
    case BPF_JMP | BPF_JGT | BPF_X:
    case BPF_JMP | BPF_JSET | BPF_K:
    case BPF_JMP | BPF_JSET | BPF_X:
      return f.jt < left && f.jf < left;
    case BPF_LD | BPF_W | BPF_LEN:
    case BPF_LDX | BPF_W | BPF_LEN:
    case BPF_LD | BPF_IMM:
    case BPF_LDX | BPF_IMM:
    case BPF_RET | BPF_K:
    case BPF_RET | BPF_A:
    case BPF_MISC | BPF_TAX:
    case BPF_MISC | BPF_TXA:
    case BPF_ALU | BPF_NEG:
      return true;
    default:
      break;
  }
  if (BPF_CLASS(f.code) != BPF_ALU) return false;
  switch (f.code & ~BPF_X) {
    case BPF_ALU | BPF_ADD:
    case BPF_ALU | BPF_SUB:
    case BPF_ALU | BPF_MUL:
    case BPF_ALU | BPF_DIV:
    case BPF_ALU | BPF_AND:
    case BPF_ALU | BPF_OR:
    case BPF_ALU | BPF_XOR:
    case BPF_ALU | BPF_LSH:
    case BPF_ALU | BPF_RSH:
      return true;
    default:
      return false;
  }
}

struct Machine {
  uint32_t a = 0, x = 0;
  std::array<uint32_t, BPF_MEMWORDS> memory{};
};

void calculate(const sock_filter& f, Machine& m) {
  const uint32_t value = BPF_SRC(f.code) == BPF_X ? m.x : f.k;
  switch (BPF_OP(f.code)) {
    case BPF_ADD:
      m.a += value;
      break;
    case BPF_SUB:
      m.a -= value;
      break;
    case BPF_MUL:
      m.a *= value;
      break;
    case BPF_DIV:
      m.a = value == 0 ? 0 : m.a / value;
      break;
    case BPF_AND:
      m.a &= value;
      break;
    case BPF_OR:
      m.a |= value;
      break;
    case BPF_XOR:
      m.a ^= value;
      break;
    case BPF_LSH:
      m.a <<= value & 31;
      break;
    case BPF_RSH:
      m.a >>= value & 31;
      break;
    case BPF_NEG:
      m.a = 0 - m.a;
      break;
  }
}

size_t jump(const sock_filter& f, const Machine& m) {
  const uint32_t value = BPF_SRC(f.code) == BPF_X ? m.x : f.k;
  switch (BPF_OP(f.code)) {
    case BPF_JA:
      return f.k;
    case BPF_JEQ:
      return m.a == value ? f.jt : f.jf;
    case BPF_JGT:
      return m.a > value ? f.jt : f.jf;
    case BPF_JGE:
      return m.a >= value ? f.jt : f.jf;
    default:
      return m.a & value ? f.jt : f.jf;
  }
}

void load(const sock_filter& f, uint32_t& to, const seccomp_data& data, const Machine& m) {
  switch (BPF_MODE(f.code)) {
    case BPF_ABS:
      std::memcpy(&to, reinterpret_cast<const char*>(&data) + f.k, sizeof to);
      break;
    case BPF_LEN:
      to = sizeof data;
      break;
    case BPF_IMM:
      to = f.k;
      break;
    default:
      to = m.memory[f.k];
      break;
  }
}

bool is_address_load(const sock_filter& f) {
  return f.code == (BPF_LD | BPF_W | BPF_ABS) && f.k >= offsetof(seccomp_data, instruction_pointer) &&
         f.k < offsetof(seccomp_data, args);
}

// Of a valid program; ends, as jumps lead forwards only. nullopt: it asks for the address of the call.
std::optional<uint32_t> run(std::span<const sock_filter> program, const seccomp_data& data) {
  Machine m;
  for (size_t at = 0; at < program.size(); ++at) {
    const sock_filter& f = program[at];
    if (is_address_load(f)) return std::nullopt;
    switch (BPF_CLASS(f.code)) {
      case BPF_LD:
        load(f, m.a, data, m);
        break;
      case BPF_LDX:
        load(f, m.x, data, m);
        break;
      case BPF_ST:
        m.memory[f.k] = m.a;
        break;
      case BPF_STX:
        m.memory[f.k] = m.x;
        break;
      case BPF_ALU:
        calculate(f, m);
        break;
      case BPF_JMP:
        at += jump(f, m);
        break;
      case BPF_MISC:
        (f.code == (BPF_MISC | BPF_TAX) ? m.x : m.a) = f.code == (BPF_MISC | BPF_TAX) ? m.a : m.x;
        break;
      case BPF_RET:
        return f.code == (BPF_RET | BPF_A) ? m.a : f.k;
    }
  }
  return kKillProcess;
}

}  // namespace

bool is_same(const SeccompChain& a, const SeccompChain& b) {
  return std::ranges::equal(a, b, [](const SeccompFilter& f, const SeccompFilter& g) {
    return f.flags == g.flags && f.program.size() == g.program.size() &&
           std::memcmp(f.program.data(), g.program.data(), f.program.size() * sizeof(sock_filter)) == 0;
  });
}

bool is_valid(std::span<const sock_filter> program) {
  if (program.empty() || program.size() > BPF_MAXINSNS) return false;
  for (size_t i = 0; i < program.size(); ++i)
    if (!is_valid_instruction(program[i], i, program.size())) return false;
  return BPF_CLASS(program.back().code) == BPF_RET;
}

bool may_notify(std::span<const sock_filter> program) {
  return std::ranges::any_of(program, [](const sock_filter& f) {
    return f.code == (BPF_RET | BPF_A) || (f.code == (BPF_RET | BPF_K) && (f.k & kActionFull) == kUserNotif);
  });
}

uint32_t verdict(const SeccompChain& chain, long number, const std::array<uint64_t, 6>& args) {
  seccomp_data data{};
  data.nr = static_cast<int>(number);
  data.arch = AUDIT_ARCH_X86_64;
  std::ranges::copy(args, data.args);
  uint32_t strictest = SECCOMP_RET_ALLOW;
  // The newest is asked first; of equal actions its value counts.
  for (auto filter = chain.rbegin(); filter != chain.rend(); ++filter) {
    const auto value = is_valid(filter->program) ? run(filter->program, data) : std::nullopt;
    if (!value) return kKillProcess;
    // The order of the actions is that of their values as signed numbers (seccomp_run_filters).
    if (static_cast<int32_t>(*value & kActionFull) < static_cast<int32_t>(strictest & kActionFull)) strictest = *value;
  }
  return strictest;
}

SeccompMercy mercy(uint32_t verdict) {
  switch (verdict & kActionFull) {
    case SECCOMP_RET_ALLOW:
    case SECCOMP_RET_LOG:
      return SeccompMercy::allows;
    case SECCOMP_RET_ERRNO:
    case SECCOMP_RET_TRACE:  // without a tracer that has asked for it: ENOSYS
      return SeccompMercy::fails;
    default:
      return SeccompMercy::harms;
  }
}

}  // namespace mcr::trace
