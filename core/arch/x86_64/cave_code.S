// See core/arch/cave.h. Assembled into the engine as data; copied, with its slots filled, into a victim.
    .section .rodata
    .global mcr_cave_begin, mcr_cave_end, mcr_cave_attach, mcr_cave_leave, mcr_cave_unmap, mcr_cave_probe
    .global mcr_cave_resume, mcr_cave_slots, mcr_cave_attached, mcr_cave_left
    .balign 16
mcr_cave_begin:
mcr_cave_attach:
    mov %r14, %rbx                  // the parasite keeps rbx, rbp and r15, as any function does
    mov $9, %eax                    // mmap(NULL, total, READ|WRITE, PRIVATE|ANONYMOUS, -1, 0)
    xor %edi, %edi
    mov slot_total(%rip), %rsi
    mov $3, %edx
    mov $0x22, %r10d
    mov $-1, %r8
    xor %r9d, %r9d
    syscall
    mov %rax, %r12
    cmp $-4096, %rax
    ja mcr_cave_signal
    mov $9, %eax                    // mmap(r12, code, READ|EXEC, PRIVATE|ANONYMOUS|FIXED, -1, 0)
    mov %r12, %rdi
    mov slot_code(%rip), %rsi
    mov $5, %edx
    mov $0x32, %r10d
    syscall
    mov %rax, %r14                  // its tracer looks there when this has failed
    cmp $-4096, %rax
    ja mcr_cave_unmap
    mov $53, %eax                   // socketpair(AF_UNIX, SOCK_SEQPACKET|SOCK_CLOEXEC, 0, sockets)
    mov $1, %edi
    mov $0x80005, %esi
    xor %edx, %edx
    mov %r12, %r10
    add slot_sockets(%rip), %r10
    syscall
    mov %rax, %r14
    test %eax, %eax
    jnz mcr_cave_unmap
    test %ebp, %ebp
    jz mcr_cave_attached
    mov $234, %eax                  // tgkill(rbx, r15, ebp): a signal as in probe, to be stopped here
    mov %rbx, %rdi
    mov %r15, %rsi
    mov %ebp, %edx
    syscall
mcr_cave_attached:
    mov %r12, %r14                  // here the engine fetches the other end
    add slot_sockets(%rip), %r14
    movslq (%r14), %r13
    movslq 4(%r14), %rdi
    mov $3, %eax                    // close the other end: from now on the engine's death is an end of file
    syscall
    xor %eax, %eax                  // read(ours, &sockets, 1): the engine says go, or is dead
    mov %r13, %rdi
    mov %r14, %rsi
    mov $1, %edx
    syscall
    cmp $1, %rax
    jne mcr_cave_leave
    mov %r12, %rsp
    add slot_total(%rip), %rsp
    lea mcr_cave_leave(%rip), %r14
    jmp *%r12
mcr_cave_probe:
    mov %rsi, %r12
    mov %rdx, %rbx
    mov %rdi, %rsi
    xor %edi, %edi
    mov $131, %eax                  // sigaltstack(NULL, rdi)
    syscall
    mov $157, %eax                  // prctl(PR_GET_TID_ADDRESS, rsi)
    mov $40, %edi
    mov %r12, %rsi
    syscall
    mov $157, %eax                  // prctl(PR_GET_TSC, rsi + 8)
    mov $25, %edi
    lea 8(%r12), %rsi
    syscall
    mov $157, %eax                  // prctl(PR_GET_PDEATHSIG, rdx)
    mov $2, %edi
    mov %rbx, %rsi
    syscall
    xor %esi, %esi                  // what follows is answered in registers, which the tracer reads
    xor %edx, %edx
    xor %r10d, %r10d
    xor %r8d, %r8d
    mov $157, %eax                  // prctl(PR_MCE_KILL_GET, 0, 0, 0, 0): to r9
    mov $34, %edi
    syscall
    mov %rax, %r9
    mov $157, %eax                  // prctl(PR_GET_SECUREBITS): to r8
    mov $27, %edi
    syscall
    mov %rax, %r8
    mov $158, %eax                  // arch_prctl(ARCH_GET_CPUID): to r10
    mov $0x1011, %edi
    xor %esi, %esi
    syscall
    mov %rax, %r10
    mov $234, %eax                  // tgkill(r14, r15, ebp): a signal that means nothing to the program; a stop for its
    mov %r14, %rdi                  // tracer. Signal 0 is none: then its tracer watches for this call
    mov %r15, %rsi
    mov %ebp, %edx
    syscall
    jmp mcr_cave_resume
mcr_cave_leave:
    mov $3, %eax
    mov %r13, %rdi
    syscall
mcr_cave_unmap:
    mov $11, %eax                   // munmap
    mov %r12, %rdi
    mov slot_total(%rip), %rsi
    syscall
    mov %rax, %r13
mcr_cave_signal:
    test %ebp, %ebp
    jz mcr_cave_resume
    mov $234, %eax                  // tgkill(rbx, r15, ebp): likewise
    mov %rbx, %rdi
    mov %r15, %rsi
    mov %ebp, %edx
    syscall
mcr_cave_left:
mcr_cave_resume:
    lea slot_flags(%rip), %rsp      // read-only is enough: popfq only reads
    popfq
    mov slot_rsp(%rip), %rsp
    mov $14, %eax                   // rt_sigprocmask(SIG_SETMASK, &mask, NULL, 8): last, signals may come after it
    mov $2, %edi
    lea slot_mask(%rip), %rsi
    mov $0, %edx                    // not xor: the flags are the victim's already
    mov $8, %r10d
    syscall
    mov slot_rbx(%rip), %rbx
    mov slot_rbp(%rip), %rbp
    mov slot_rsi(%rip), %rsi
    mov slot_rdi(%rip), %rdi
    mov slot_rdx(%rip), %rdx
    mov slot_r8(%rip), %r8
    mov slot_r9(%rip), %r9
    mov slot_r10(%rip), %r10
    mov slot_r11(%rip), %r11
    mov slot_r12(%rip), %r12
    mov slot_r13(%rip), %r13
    mov slot_r14(%rip), %r14
    mov slot_r15(%rip), %r15
    mov slot_rcx(%rip), %rcx
    mov slot_rax(%rip), %rax
    jmp *slot_rip(%rip)
    .balign 8
mcr_cave_slots:
slot_total:   .quad 0
slot_code:    .quad 0
slot_sockets: .quad 0
slot_mask:    .quad 0
slot_flags:   .quad 0
slot_rip:     .quad 0
slot_rsp:     .quad 0
slot_rax:     .quad 0
slot_rbx:     .quad 0
slot_rcx:     .quad 0
slot_rdx:     .quad 0
slot_rsi:     .quad 0
slot_rdi:     .quad 0
slot_rbp:     .quad 0
slot_r8:      .quad 0
slot_r9:      .quad 0
slot_r10:     .quad 0
slot_r11:     .quad 0
slot_r12:     .quad 0
slot_r13:     .quad 0
slot_r14:     .quad 0
slot_r15:     .quad 0
mcr_cave_end:
    .section .note.GNU-stack, "", @progbits
