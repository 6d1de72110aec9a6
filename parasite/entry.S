// First bytes of the blob. r12 = base of the mapping, r13 = our socket, r14 = where to go when the socket has closed
// (the cave in the victim), or 0 in a process that is being restored: then there is nothing to go back to.
    .section .text.entry, "ax"
    .global mcr_blob_entry
mcr_blob_entry:
    cld
    and $-16, %rsp
    mov %r12, %rdi
    mov %r13, %rsi
    call mcr_blob_main
    test %r14, %r14
    jz 1f
    jmp *%r14
1:  mov $231, %eax          // exit_group
    mov $1, %edi
    syscall
    hlt
    .section .note.GNU-stack, "", @progbits
