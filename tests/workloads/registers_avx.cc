// The sixteen 256-bit AVX registers hold values while the program spins.
#include "spinning.h"

extern "C" {
void spin();
alignas(64) unsigned char loaded[16 * 32], kept[16 * 32];
}

asm(R"(
.text
spin:
  vmovaps loaded+0(%rip), %ymm0
  vmovaps loaded+32(%rip), %ymm1
  vmovaps loaded+64(%rip), %ymm2
  vmovaps loaded+96(%rip), %ymm3
  vmovaps loaded+128(%rip), %ymm4
  vmovaps loaded+160(%rip), %ymm5
  vmovaps loaded+192(%rip), %ymm6
  vmovaps loaded+224(%rip), %ymm7
  vmovaps loaded+256(%rip), %ymm8
  vmovaps loaded+288(%rip), %ymm9
  vmovaps loaded+320(%rip), %ymm10
  vmovaps loaded+352(%rip), %ymm11
  vmovaps loaded+384(%rip), %ymm12
  vmovaps loaded+416(%rip), %ymm13
  vmovaps loaded+448(%rip), %ymm14
  vmovaps loaded+480(%rip), %ymm15
1:
  pause
  cmpl $0, spin_over(%rip)
  je 1b
  vmovaps %ymm0, kept+0(%rip)
  vmovaps %ymm1, kept+32(%rip)
  vmovaps %ymm2, kept+64(%rip)
  vmovaps %ymm3, kept+96(%rip)
  vmovaps %ymm4, kept+128(%rip)
  vmovaps %ymm5, kept+160(%rip)
  vmovaps %ymm6, kept+192(%rip)
  vmovaps %ymm7, kept+224(%rip)
  vmovaps %ymm8, kept+256(%rip)
  vmovaps %ymm9, kept+288(%rip)
  vmovaps %ymm10, kept+320(%rip)
  vmovaps %ymm11, kept+352(%rip)
  vmovaps %ymm12, kept+384(%rip)
  vmovaps %ymm13, kept+416(%rip)
  vmovaps %ymm14, kept+448(%rip)
  vmovaps %ymm15, kept+480(%rip)
  vzeroupper
  ret
)");

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  if (!__builtin_cpu_supports("avx")) workload::skip("this processor has no AVX");
  workload::fill(loaded, sizeof loaded, 63);
  workload::spin_until_term(spin);
  for (int i = 0; i < 16; ++i)
    if (memcmp(kept + 32 * i, loaded + 32 * i, 32) != 0) workload::fail("ymm%d changed", i);
  return workload::passed();
}
