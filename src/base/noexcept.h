/* What C++ spells noexcept, for C functions that call functions of the program. */
#ifndef ROTA__BASE_NOEXCEPT_H
#define ROTA__BASE_NOEXCEPT_H

/* Written behind such a call: an exception that the program lets out of its function ends the
 * program by std::terminate, with the stack as it was at the throw. Without this it would pass
 * through our frame, whose C code cannot clean up, to a handler further up.
 *
 * It costs nothing: it names a personality routine in the unwind table of the enclosing function,
 * and the C++ runtime asks that while it searches for a handler. The statement also keeps the call
 * from becoming a tail call, which would leave no frame of ours to ask.
 *
 * 0x1b: the routine is given by a 32-bit offset from here (DW_EH_PE_pcrel | DW_EH_PE_sdata4).
 * Compilers define the guard where they write unwind tables by such directives. */
#ifdef __GCC_HAVE_DWARF2_CFI_ASM
#define ROTA__NOEXCEPT() __asm__ volatile(".cfi_personality 0x1b, rota__noexcept_personality")
#else
#define ROTA__NOEXCEPT() __asm__ volatile("")
#endif

#endif
