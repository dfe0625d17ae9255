/* Reports to the program's log hook, or to standard error. */
#ifndef ROTA__BASE_LOG_H
#define ROTA__BASE_LOG_H

#include <rota/base.h>

/* For reports that rota_log would cut. */
void rota__log_text(rota_log_level level, const char *text);
/* Whether anybody would see a report, so that making it up can be saved. */
bool rota__log_wanted(rota_log_level level);
/* ROTA_DEBUG=1 (anything but empty and "0"). Read once. */
bool rota__debug(void);

/* Between the two, warnings and errors go to standard error where there is no hook. Calls may be
 * nested, and come from several threads. The last end reports how often what was held back has
 * repeated. */
void rota__log_program_begins(void);
void rota__log_program_ends(void);

/* Writes "<before><text>\n" to standard error, in one system call. Keeps errno. */
void rota__write_line(const char *before, const char *text);

/* For tests: the clock by which repetitions are counted. */
extern rota_time (*rota__log_clock)(void);

#endif
