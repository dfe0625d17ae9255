/* Stands in for libFuzzer in the tests: gives a target each file of the directories that it is
 * called with, once. */
#include "fuzz.h"

#include <dirent.h>
#include <limits.h>

static void replay(const char *path)
{
    FILE *file = fopen(path, "re");
    require(file != NULL);
    require(fseek(file, 0, SEEK_END) == 0);
    size_t size = (size_t)ftell(file);
    rewind(file);
    /* In memory of just its size. */
    uint8_t *data = malloc(size ? size : 1);
    require(fread(data, 1, size, file) == size);
    fclose(file);
    fprintf(stderr, "%s\n", path);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
}

static int replay_all(const char *directory)
{
    int count = 0;
    DIR *dir = opendir(directory);
    require(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[PATH_MAX];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        replay(path);
        count++;
    }
    closedir(dir);
    return count;
}

int main(int argc, char **argv)
{
    int count = 0;
    for (int i = 1; i < argc; i++)
        count += replay_all(argv[i]);
    return count > 0 ? 0 : 1;
}
