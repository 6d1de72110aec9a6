// Every general register and the flags hold a value while the program spins.
#include "spinning.h"

extern "C" {
void spin();
uint64_t loaded[15], kept[15], kept_flags;
}

// rax, rbx, rcx, rdx, rsi, rdi, rbp, r8 .. r15; the direction flag is set too.
asm(R"(
.text
spin:
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  mov loaded+0(%rip), %rax
  mov loaded+8(%rip), %rbx
  mov loaded+16(%rip), %rcx
  mov loaded+24(%rip), %rdx
  mov loaded+32(%rip), %rsi
  mov loaded+40(%rip), %rdi
  mov loaded+48(%rip), %rbp
  mov loaded+56(%rip), %r8
  mov loaded+64(%rip), %r9
  mov loaded+72(%rip), %r10
  mov loaded+80(%rip), %r11
  mov loaded+88(%rip), %r12
  mov loaded+96(%rip), %r13
  mov loaded+104(%rip), %r14
  mov loaded+112(%rip), %r15
  std
1:
  pause
  testl $1, spin_over(%rip)
  jz 1b
  mov %rax, kept+0(%rip)
  mov %rbx, kept+8(%rip)
  mov %rcx, kept+16(%rip)
  mov %rdx, kept+24(%rip)
  mov %rsi, kept+32(%rip)
  mov %rdi, kept+40(%rip)
  mov %rbp, kept+48(%rip)
  mov %r8, kept+56(%rip)
  mov %r9, kept+64(%rip)
  mov %r10, kept+72(%rip)
  mov %r11, kept+80(%rip)
  mov %r12, kept+88(%rip)
  mov %r13, kept+96(%rip)
  mov %r14, kept+104(%rip)
  mov %r15, kept+112(%rip)
  pushfq
  popq kept_flags(%rip)
  cld
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
  ret
)");

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  workload::fill(loaded, sizeof loaded, 61);
  workload::spin_until_term(spin);
  for (int i = 0; i < 15; ++i)
    if (kept[i] != loaded[i]) workload::fail("register %d held %lx and holds %lx", i, loaded[i], kept[i]);
  MUST(kept_flags & 0x400);
  return workload::passed();
}
