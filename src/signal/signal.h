/* What the files of the signal module share. */
#ifndef ROTA__SIGNAL_SIGNAL_H
#define ROTA__SIGNAL_SIGNAL_H

#include "task/task.h"

#include <rota/signal.h>

/* Whether the signal is ignored, or was before the first listener. */
bool rota__signal_is_ignored(int number);
/* Takes the signal with the lowest number of those that have come; there is one. */
int rota__signals_take(rota_signals *signals);

#endif
