/* Reports to the program's log hook, or to standard error. */
#ifndef ROTA__BASE_LOG_H
#define ROTA__BASE_LOG_H

#include <rota/base.h>

/* For reports that rota_log would cut. They are counted by their text. */
void rota__log_text(rota_log_level level, const char *text);
/* Like rota_log, but repeated reports are counted for each `object`, such as the place where a task
 * was spawned. Only its address is used. Peers must not be able to make new ones. */
void rota__log_about(rota_log_level level, const void *object, const char *format, ...)
    ROTA_PRINTF(3, 4);
/* Whether a report would be seen. If not, callers can skip the formatting. */
bool rota__log_wanted(rota_log_level level);
/* ROTA_DEBUG=1 (anything but empty and "0"). Read once. */
bool rota__debug(void);

/* Between the two, warnings and errors go to standard error where there is no hook. Calls may be
 * nested, and come from several threads. The last end reports how many reports were held back. */
void rota__log_program_begins(void);
void rota__log_program_ends(void);

/* Writes "<before><text>\n" to standard error, in one system call. Preserves errno.
 * Neither SIGPIPE nor SIGXFSZ ends the program. */
void rota__write_line(const char *before, const char *text);

/* For tests: the clock by which repetitions are counted. */
extern rota_time (*rota__log_clock)(void);

#endif
