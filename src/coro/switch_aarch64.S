/* The switch for aarch64 (AAPCS64).
 *
 * Saved on the stack that stops, from its stack pointer upwards: x19 to x28, x29 and x30, then the
 * low halves of v8 to v15. FPCR belongs to the thread, not to a coroutine. The last step is a branch
 * and not a return: the processor's return predictor would always be wrong here. */

    .macro TAKE_REGISTERS
    ldp     x19, x20, [sp]
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    ldp     d8, d9, [sp, #96]
    ldp     d10, d11, [sp, #112]
    ldp     d12, d13, [sp, #128]
    ldp     d14, d15, [sp, #144]
    add     sp, sp, #160
    .cfi_def_cfa sp, 0
    .cfi_restore x19
    .cfi_restore x20
    .cfi_restore x21
    .cfi_restore x22
    .cfi_restore x23
    .cfi_restore x24
    .cfi_restore x25
    .cfi_restore x26
    .cfi_restore x27
    .cfi_restore x28
    .cfi_restore x29
    .cfi_restore x30
    .endm

    .text
    .globl  rota__coro_jump
    .hidden rota__coro_jump
    .type   rota__coro_jump, %function
    .p2align 5

/* int rota__coro_jump(void **save_sp, void *sp, int value) */
rota__coro_jump:
    .cfi_startproc
    sub     sp, sp, #160
    .cfi_adjust_cfa_offset 160
    stp     x19, x20, [sp]
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    stp     d8, d9, [sp, #96]
    stp     d10, d11, [sp, #112]
    stp     d12, d13, [sp, #128]
    stp     d14, d15, [sp, #144]
    .cfi_rel_offset x19, 0
    .cfi_rel_offset x20, 8
    .cfi_rel_offset x21, 16
    .cfi_rel_offset x22, 24
    .cfi_rel_offset x23, 32
    .cfi_rel_offset x24, 40
    .cfi_rel_offset x25, 48
    .cfi_rel_offset x26, 56
    .cfi_rel_offset x27, 64
    .cfi_rel_offset x28, 72
    .cfi_rel_offset x29, 80
    .cfi_rel_offset x30, 88
    mov     x9, sp
    str     x9, [x0]
    mov     w0, w2
    mov     sp, x1
    TAKE_REGISTERS
    br      x30
    .cfi_endproc
    .size   rota__coro_jump, . - rota__coro_jump

/* Where a new coroutine begins: entry in x19, its argument in x20, x29 0. Nobody called it, so
 * unwinding ends here. When entry has returned, the thread goes on where it says, by a return: a
 * coroutine that ran without a stop has left the predictor as it was. */
    .globl  rota__coro_begin
    .hidden rota__coro_begin
    .type   rota__coro_begin, %function
    .p2align 4
rota__coro_begin:
    .cfi_startproc
    .cfi_undefined x30
    mov     x0, x20
    blr     x19
    mov     sp, x0
    mov     w0, w1
    .cfi_def_cfa sp, 160
    .cfi_offset x19, -160
    .cfi_offset x20, -152
    .cfi_offset x21, -144
    .cfi_offset x22, -136
    .cfi_offset x23, -128
    .cfi_offset x24, -120
    .cfi_offset x25, -112
    .cfi_offset x26, -104
    .cfi_offset x27, -96
    .cfi_offset x28, -88
    .cfi_offset x29, -80
    .cfi_offset x30, -72
    TAKE_REGISTERS
    ret
    .cfi_endproc
    .size   rota__coro_begin, . - rota__coro_begin

    .section .note.GNU-stack, "", %progbits
