// x87 and SSE registers, MXCSR and the x87 control word hold values while the program spins.
#include "spinning.h"

extern "C" {
void spin();
alignas(64) unsigned char loaded[16 * 16], kept[16 * 16];
long double x87_loaded[6], x87_kept[6];
uint32_t mxcsr_loaded, mxcsr_kept, mxcsr_default = 0x1f80;
uint16_t control_loaded, control_kept, status_kept;
}

asm(R"(
.text
spin:
  ldmxcsr mxcsr_loaded(%rip)
  fninit
  fldcw control_loaded(%rip)
  fldt x87_loaded+0(%rip)
  fldt x87_loaded+16(%rip)
  fldt x87_loaded+32(%rip)
  fldt x87_loaded+48(%rip)
  fldt x87_loaded+64(%rip)
  fldt x87_loaded+80(%rip)
  movaps loaded+0(%rip), %xmm0
  movaps loaded+16(%rip), %xmm1
  movaps loaded+32(%rip), %xmm2
  movaps loaded+48(%rip), %xmm3
  movaps loaded+64(%rip), %xmm4
  movaps loaded+80(%rip), %xmm5
  movaps loaded+96(%rip), %xmm6
  movaps loaded+112(%rip), %xmm7
  movaps loaded+128(%rip), %xmm8
  movaps loaded+144(%rip), %xmm9
  movaps loaded+160(%rip), %xmm10
  movaps loaded+176(%rip), %xmm11
  movaps loaded+192(%rip), %xmm12
  movaps loaded+208(%rip), %xmm13
  movaps loaded+224(%rip), %xmm14
  movaps loaded+240(%rip), %xmm15
1:
  pause
  cmpl $0, spin_over(%rip)
  je 1b
  movaps %xmm0, kept+0(%rip)
  movaps %xmm1, kept+16(%rip)
  movaps %xmm2, kept+32(%rip)
  movaps %xmm3, kept+48(%rip)
  movaps %xmm4, kept+64(%rip)
  movaps %xmm5, kept+80(%rip)
  movaps %xmm6, kept+96(%rip)
  movaps %xmm7, kept+112(%rip)
  movaps %xmm8, kept+128(%rip)
  movaps %xmm9, kept+144(%rip)
  movaps %xmm10, kept+160(%rip)
  movaps %xmm11, kept+176(%rip)
  movaps %xmm12, kept+192(%rip)
  movaps %xmm13, kept+208(%rip)
  movaps %xmm14, kept+224(%rip)
  movaps %xmm15, kept+240(%rip)
  fnstsw status_kept(%rip)
  fnstcw control_kept(%rip)
  fstpt x87_kept+80(%rip)
  fstpt x87_kept+64(%rip)
  fstpt x87_kept+48(%rip)
  fstpt x87_kept+32(%rip)
  fstpt x87_kept+16(%rip)
  fstpt x87_kept+0(%rip)
  stmxcsr mxcsr_kept(%rip)
  ldmxcsr mxcsr_default(%rip)
  fninit
  ret
)");

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  workload::fill(loaded, sizeof loaded, 62);
  for (int i = 0; i < 6; ++i) x87_loaded[i] = 1.0L / (i + 3);
  mxcsr_loaded = 0x1f80 | 0x6000 | 0x8000 | 0x20;  // round to zero, flush to zero, precision flag raised
  control_loaded = 0x0a7f;                         // double precision, round up, all masked
  workload::spin_until_term(spin);
  for (int i = 0; i < 16; ++i)
    if (memcmp(kept + 16 * i, loaded + 16 * i, 16) != 0) workload::fail("xmm%d changed", i);
  for (int i = 0; i < 6; ++i)
    if (memcmp(&x87_kept[i], &x87_loaded[i], 10) != 0) workload::fail("x87 value %d changed", i);
  MUST_BE(mxcsr_kept, mxcsr_loaded);
  MUST_BE(control_kept, control_loaded);
  MUST_BE((status_kept >> 11) & 7, 2);  // the top of a stack of six
  return workload::passed();
}
