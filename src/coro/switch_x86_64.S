/* The switch for x86-64 (System V ABI).
 *
 * Saved on the stack that stops, from its stack pointer upwards: r15 r14 r13 r12 rbx rbp, then the
 * address to go on at. The FPU and MXCSR control words belong to the thread, not to a coroutine. The
 * last step is a jump and not a return: the processor's return predictor would always be wrong here.
 *
 * CET. Indirect branch tracking is possible: nothing here is called indirectly, and the jump, whose target
 * is behind a call, is a `notrack` one. Shadow stacks are not: the returns of the stack that continues would
 * not be on the shadow stack. So the note at the end has one of the two bits, and a linker marks the library
 * and its programs likewise. */

    .macro TAKE_REGISTERS
    popq    %r15
    .cfi_adjust_cfa_offset -8
    .cfi_same_value r15
    popq    %r14
    .cfi_adjust_cfa_offset -8
    .cfi_same_value r14
    popq    %r13
    .cfi_adjust_cfa_offset -8
    .cfi_same_value r13
    popq    %r12
    .cfi_adjust_cfa_offset -8
    .cfi_same_value r12
    popq    %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_same_value rbx
    popq    %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_same_value rbp
    .endm

    .text
    .globl  rota__coro_jump
    .hidden rota__coro_jump
    .type   rota__coro_jump, @function
    .p2align 5

/* int rota__coro_jump(void **save_sp, void *sp, int value) */
rota__coro_jump:
    .cfi_startproc
    pushq   %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbp, 0
    pushq   %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbx, 0
    pushq   %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r12, 0
    pushq   %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r13, 0
    pushq   %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r14, 0
    pushq   %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r15, 0
    movl    %edx, %eax
    movq    %rsp, (%rdi)
    movq    %rsi, %rsp
    TAKE_REGISTERS
    popq    %rcx
    .cfi_adjust_cfa_offset -8
    .cfi_register rip, rcx
    notrack jmpq *%rcx
    .cfi_endproc
    .size   rota__coro_jump, . - rota__coro_jump

/* Where a new coroutine begins: entry in r12, its argument in r13, rbp 0. Nobody called it, so
 * unwinding ends here. When entry has returned, the thread goes on where it says, by a return: a
 * coroutine that ran without a stop has left the predictor as it was, so that a task which spawns
 * and joins is predicted. */
    .globl  rota__coro_begin
    .hidden rota__coro_begin
    .type   rota__coro_begin, @function
    .p2align 4
rota__coro_begin:
    .cfi_startproc
    .cfi_undefined rip
    movq    %r13, %rdi
    callq   *%r12
    movq    %rax, %rsp
    movl    %edx, %eax
    .cfi_def_cfa rsp, 56
    .cfi_offset r15, -56
    .cfi_offset r14, -48
    .cfi_offset r13, -40
    .cfi_offset r12, -32
    .cfi_offset rbx, -24
    .cfi_offset rbp, -16
    .cfi_offset rip, -8
    TAKE_REGISTERS
    ret
    .cfi_endproc
    .size   rota__coro_begin, . - rota__coro_begin

    .section .note.GNU-stack, "", @progbits

/* GNU_PROPERTY_X86_FEATURE_1_AND (0xc0000002): GNU_PROPERTY_X86_FEATURE_1_IBT (1). */
    .section .note.gnu.property, "a", @note
    .p2align 3
    .long   4, 16, 5
    .asciz  "GNU"
    .long   0xc0000002, 4, 1, 0
