/* stage: how the guided tour and the tests play a stop.
 *
 * A stop is an ordinary program. To play it inside another one, it is compiled once more with this
 * file included first: its main gets a name of its own, what it prints comes here line by line with
 * the time at which it was printed, and the loop gets the options that are set here. */
#ifndef STAGE_H
#define STAGE_H

#include <rota.h>

#include <stdio.h>

struct stage {
    const rota_loop_options *options; /* for each loop; may be NULL */
    /* Receives a line without its end, and when it was printed, since the loop began. */
    void (*line)(const char *text, rota_time when);
};

extern struct stage stage;

int stage_main(rota_fn *main, void *arg, const rota_site *site);
ROTA_PRINTF(1, 2) int stage_printf(const char *format, ...);

#ifdef STOP
int STOP(void);
#define main STOP
#undef rota_main
#define rota_main(fn, arg) stage_main(fn, arg, ROTA_SITE(#fn))
#define printf stage_printf
#endif

#endif
