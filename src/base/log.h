/* Reports to the program's log hook. */
#ifndef ROTA__BASE_LOG_H
#define ROTA__BASE_LOG_H

#include <rota/base.h>

/* For reports that rota_log would cut. */
void rota__log_text(rota_log_level level, const char *text);
/* Whether anybody would see a report, so that making it up can be saved. */
bool rota__log_wanted(void);
/* ROTA_DEBUG=1 (anything but empty and "0"). Read once. */
bool rota__debug(void);

#endif
