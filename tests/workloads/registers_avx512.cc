// The 32 512-bit registers and the eight mask registers of AVX-512 hold values while the program spins.
#include "spinning.h"

extern "C" {
void spin();
alignas(64) unsigned char loaded[32 * 64], kept[32 * 64];
uint64_t masks_loaded[8], masks_kept[8];
}

asm(R"(
.text
spin:
  vmovaps loaded+0(%rip), %zmm0
  vmovaps loaded+64(%rip), %zmm1
  vmovaps loaded+128(%rip), %zmm2
  vmovaps loaded+192(%rip), %zmm3
  vmovaps loaded+256(%rip), %zmm4
  vmovaps loaded+320(%rip), %zmm5
  vmovaps loaded+384(%rip), %zmm6
  vmovaps loaded+448(%rip), %zmm7
  vmovaps loaded+512(%rip), %zmm8
  vmovaps loaded+576(%rip), %zmm9
  vmovaps loaded+640(%rip), %zmm10
  vmovaps loaded+704(%rip), %zmm11
  vmovaps loaded+768(%rip), %zmm12
  vmovaps loaded+832(%rip), %zmm13
  vmovaps loaded+896(%rip), %zmm14
  vmovaps loaded+960(%rip), %zmm15
  vmovaps loaded+1024(%rip), %zmm16
  vmovaps loaded+1088(%rip), %zmm17
  vmovaps loaded+1152(%rip), %zmm18
  vmovaps loaded+1216(%rip), %zmm19
  vmovaps loaded+1280(%rip), %zmm20
  vmovaps loaded+1344(%rip), %zmm21
  vmovaps loaded+1408(%rip), %zmm22
  vmovaps loaded+1472(%rip), %zmm23
  vmovaps loaded+1536(%rip), %zmm24
  vmovaps loaded+1600(%rip), %zmm25
  vmovaps loaded+1664(%rip), %zmm26
  vmovaps loaded+1728(%rip), %zmm27
  vmovaps loaded+1792(%rip), %zmm28
  vmovaps loaded+1856(%rip), %zmm29
  vmovaps loaded+1920(%rip), %zmm30
  vmovaps loaded+1984(%rip), %zmm31
  kmovq masks_loaded+0(%rip), %k0
  kmovq masks_loaded+8(%rip), %k1
  kmovq masks_loaded+16(%rip), %k2
  kmovq masks_loaded+24(%rip), %k3
  kmovq masks_loaded+32(%rip), %k4
  kmovq masks_loaded+40(%rip), %k5
  kmovq masks_loaded+48(%rip), %k6
  kmovq masks_loaded+56(%rip), %k7
1:
  pause
  cmpl $0, spin_over(%rip)
  je 1b
  vmovaps %zmm0, kept+0(%rip)
  vmovaps %zmm1, kept+64(%rip)
  vmovaps %zmm2, kept+128(%rip)
  vmovaps %zmm3, kept+192(%rip)
  vmovaps %zmm4, kept+256(%rip)
  vmovaps %zmm5, kept+320(%rip)
  vmovaps %zmm6, kept+384(%rip)
  vmovaps %zmm7, kept+448(%rip)
  vmovaps %zmm8, kept+512(%rip)
  vmovaps %zmm9, kept+576(%rip)
  vmovaps %zmm10, kept+640(%rip)
  vmovaps %zmm11, kept+704(%rip)
  vmovaps %zmm12, kept+768(%rip)
  vmovaps %zmm13, kept+832(%rip)
  vmovaps %zmm14, kept+896(%rip)
  vmovaps %zmm15, kept+960(%rip)
  vmovaps %zmm16, kept+1024(%rip)
  vmovaps %zmm17, kept+1088(%rip)
  vmovaps %zmm18, kept+1152(%rip)
  vmovaps %zmm19, kept+1216(%rip)
  vmovaps %zmm20, kept+1280(%rip)
  vmovaps %zmm21, kept+1344(%rip)
  vmovaps %zmm22, kept+1408(%rip)
  vmovaps %zmm23, kept+1472(%rip)
  vmovaps %zmm24, kept+1536(%rip)
  vmovaps %zmm25, kept+1600(%rip)
  vmovaps %zmm26, kept+1664(%rip)
  vmovaps %zmm27, kept+1728(%rip)
  vmovaps %zmm28, kept+1792(%rip)
  vmovaps %zmm29, kept+1856(%rip)
  vmovaps %zmm30, kept+1920(%rip)
  vmovaps %zmm31, kept+1984(%rip)
  kmovq %k0, masks_kept+0(%rip)
  kmovq %k1, masks_kept+8(%rip)
  kmovq %k2, masks_kept+16(%rip)
  kmovq %k3, masks_kept+24(%rip)
  kmovq %k4, masks_kept+32(%rip)
  kmovq %k5, masks_kept+40(%rip)
  kmovq %k6, masks_kept+48(%rip)
  kmovq %k7, masks_kept+56(%rip)
  vzeroupper
  ret
)");

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw"))
    workload::skip("this processor has no AVX-512");
  workload::fill(loaded, sizeof loaded, 64);
  workload::fill(masks_loaded, sizeof masks_loaded, 65);
  workload::spin_until_term(spin);
  for (int i = 0; i < 32; ++i)
    if (memcmp(kept + 64 * i, loaded + 64 * i, 64) != 0) workload::fail("zmm%d changed", i);
  for (int i = 0; i < 8; ++i) MUST_BE(masks_kept[i], masks_loaded[i]);
  return workload::passed();
}
