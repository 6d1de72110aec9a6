// The blob as data of the engine.
    .section .rodata
    .global mcr_blob_begin
    .global mcr_blob_end
mcr_blob_begin:
    .incbin "blob.bin"
mcr_blob_end:
    .section .note.GNU-stack, "", @progbits
