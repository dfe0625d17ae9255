/* The limit of the switch row: six registers, the stack pointer and an indirect jump, nothing else.
 * x86-64 only.
 *
 *     raw_switch OPERATIONS [REPEATS] */
#include "clock.h"

#include <stdlib.h>

/* Leaves the running stack in *from and goes on with `to`, which was left in the same way. */
void raw_switch(void **from, void *to);

__asm__(".pushsection .text\n"
        ".globl raw_switch\n"
        ".type raw_switch, @function\n"
        "raw_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    popq %rcx\n"
        "    jmp *%rcx\n"
        ".size raw_switch, . - raw_switch\n"
        ".popsection\n");

static char stack[65536] __attribute__((aligned(64)));
static void *here, *there;

static void answer(void)
{
    for (;;)
        raw_switch(&there, here);
}

static void *prepare(void)
{
    void **top = (void **)(stack + sizeof stack);

    *--top = NULL;           /* keeps the alignment that a call would leave */
    *--top = (void *)answer; /* where the first switch jumps to */
    return top - 6;
}

/* A round trip is two switches. */
static void jump(uint64_t operations)
{
    for (uint64_t i = 0; i < operations; i += 2)
        raw_switch(&here, there);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: raw_switch OPERATIONS [REPEATS]\n", stderr);
        return 2;
    }
    there = prepare();
    clock_best(jump, strtoull(argv[1], NULL, 10), argc > 2 ? atoi(argv[2]) : 5);
    return 0;
}
