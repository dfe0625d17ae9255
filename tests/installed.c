/* A user's program: compiled against the installed library by the install check. */

#include <rota/base.h>
#include <stdio.h>

int main(void)
{
    printf("rota %s: %s\n", rota_version(), rota_strerror(ROTA_EOF));
    return 0;
}
