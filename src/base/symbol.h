/* Names of functions, for reports: found in the symbol tables of the program's files, so that
 * static functions have names, too. */
#ifndef ROTA__BASE_SYMBOL_H
#define ROTA__BASE_SYMBOL_H

#include <stddef.h>
#include <stdint.h>

struct rota__symbol {
    /* "fetch"; empty where the file has no symbols. */
    char name[96];
    /* From the beginning of the function to the address. */
    size_t offset;
    /* The file that the address is in, and the address as that file and addr2line(1) count it. */
    char file[256];
    uintptr_t in_file;
};

/* Fills `ret_symbol`; reads files. Without a trace of the address `file` is empty, too. */
void rota__symbol_find(const void *address, struct rota__symbol *ret_symbol);

#endif
