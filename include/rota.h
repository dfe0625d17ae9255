/* rota: asyncio for C. All of the library in one include; each header stands for itself, too. */
#ifndef ROTA_H
#define ROTA_H

#include <rota/backoff.h>
#include <rota/base.h>
#include <rota/channel.h>
#include <rota/coro.h>
#include <rota/dgram.h>
#include <rota/dir.h>
#include <rota/exec.h>
#include <rota/file.h>
#include <rota/filter.h>
#include <rota/host.h>
#include <rota/loop.h>
#include <rota/net.h>
#include <rota/path.h>
#include <rota/process.h>
#include <rota/signal.h>
#include <rota/stream.h>
#include <rota/sync.h>
#include <rota/task.h>
#include <rota/unix.h>
#include <rota/watch.h>
#include <rota/worker.h>

#endif
