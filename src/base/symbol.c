#include "base/symbol.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- The file */

struct search {
    uintptr_t address;
    struct rota__symbol *symbol;
    bool is_program; /* not a library */
};

static int look_at_object(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct search *s = arg;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t from = info->dlpi_addr + part->p_vaddr;
        if (part->p_type != PT_LOAD || s->address < from || s->address - from >= part->p_memsz)
            continue;
        s->symbol->in_file = s->address - info->dlpi_addr;
        s->is_program = !info->dlpi_name || !*info->dlpi_name;
        if (!s->is_program)
            snprintf(s->symbol->file, sizeof s->symbol->file, "%s", info->dlpi_name);
        return 1;
    }
    return 0;
}

static void name_program(struct rota__symbol *symbol)
{
    ssize_t n = readlink("/proc/self/exe", symbol->file, sizeof symbol->file - 1);
    symbol->file[n > 0 ? n : 0] = '\0';
}

/* ---- Its symbols. Nothing in the file is believed: it may have been replaced. */

struct image {
    const unsigned char *bytes;
    size_t size;
};

static const void *part_of(const struct image *image, uint64_t offset, uint64_t size,
                           uint64_t alignment)
{
    bool inside = offset <= image->size && size <= image->size - offset;
    return inside && offset % alignment == 0 ? image->bytes + offset : NULL;
}

static void look_at_table(const struct image *image, const ElfW(Shdr) * table,
                          const ElfW(Shdr) * strings, struct rota__symbol *symbol)
{
    const ElfW(Sym) *all = part_of(image, table->sh_offset, table->sh_size, 8);
    const char *names = part_of(image, strings->sh_offset, strings->sh_size, 1);
    if (!all || !names || table->sh_entsize != sizeof *all)
        return;
    for (size_t i = 0; i < table->sh_size / sizeof *all; i++) {
        const ElfW(Sym) *one = &all[i];
        uintptr_t offset = symbol->in_file - one->st_value;
        bool is_function = (one->st_info & 0xf) == STT_FUNC && one->st_shndx != SHN_UNDEF;
        if (!is_function || symbol->in_file < one->st_value || offset >= one->st_size ||
            one->st_name >= strings->sh_size)
            continue;
        size_t len = strnlen(names + one->st_name, strings->sh_size - one->st_name);
        snprintf(symbol->name, sizeof symbol->name, "%.*s", (int)(len < 1024 ? len : 1024),
                 names + one->st_name);
        symbol->offset = offset;
        return;
    }
}

static void look_at_image(const struct image *image, struct rota__symbol *symbol)
{
    const ElfW(Ehdr) *head = part_of(image, 0, sizeof *head, 8);
    if (!head || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 ||
        head->e_shentsize != sizeof(ElfW(Shdr)))
        return;
    const ElfW(Shdr) *sections =
        part_of(image, head->e_shoff, (uint64_t)head->e_shnum * sizeof *sections, 8);
    for (size_t i = 0; sections && i < head->e_shnum && !*symbol->name; i++) {
        const ElfW(Shdr) *s = &sections[i];
        if ((s->sh_type == SHT_SYMTAB || s->sh_type == SHT_DYNSYM) && s->sh_link < head->e_shnum)
            look_at_table(image, s, &sections[s->sh_link], symbol);
    }
}

static void look_at_file(const char *path, struct rota__symbol *symbol)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
        struct image image = {MAP_FAILED, (size_t)st.st_size};
        image.bytes = mmap(NULL, image.size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (image.bytes != MAP_FAILED) {
            look_at_image(&image, symbol);
            munmap((void *)(uintptr_t)image.bytes, image.size);
        }
    }
    close(fd);
}

void rota__symbol_find(const void *address, struct rota__symbol *ret_symbol)
{
    struct search s = {.address = (uintptr_t)address, .symbol = ret_symbol};
    *ret_symbol = (struct rota__symbol){.name = ""};
    if (!dl_iterate_phdr(look_at_object, &s))
        return;
    if (s.is_program)
        name_program(ret_symbol);
    look_at_file(s.is_program ? "/proc/self/exe" : ret_symbol->file, ret_symbol);
}
