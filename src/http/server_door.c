/* The door: how many connections there may be, and how many from one address.
 *
 *     accepted -> inside     rota__server_admit, once there is room
 *              -> closed     its address has too many, or the server stops
 *
 * 1. At most options.connections are inside, and no more than the budget has memory for. A listener
 *    accepts one more, which waits at the door.
 * 2. While one waits, the connection that has rested longest, and for at least REST, is told to
 *    leave. If there is none, the new connection waits. So idle or slow clients keep no others out,
 *    and a burst of clients does not evict its own connections.
 * 3. An IPv6 client usually has a whole /64, so the prefix counts as its address. */
#include "http/server.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/random.h>

/* Only one connection at a time is told to leave. */
#define LEAVING (100 * ROTA_MILLISECOND)
/* A connection may rest this long before it can be told to leave: time for a handshake, and for a
 * request under way. */
#define REST ROTA_SECOND
#define BUCKETS_MOST 16384

int rota__server_door_init(struct rota__server *server)
{
    struct rota__server_door *door = &server->door;
    door->room = (rota_event)ROTA_EVENT_INIT;
    if (!server->options.connections_per_address)
        return 0;
    door->buckets = 64;
    while (door->buckets < server->options.connections && door->buckets < BUCKETS_MOST)
        door->buckets *= 2;
    door->addresses = rota_alloc(door->buckets * sizeof *door->addresses);
    if (!door->addresses)
        return -ENOMEM;
    for (size_t i = 0; i < door->buckets; i++)
        rota__list_init(&door->addresses[i]);
    if (getrandom(&door->seed, sizeof door->seed, GRND_NONBLOCK) < 0)
        door->seed = (uintptr_t)door->addresses;
    return 0;
}

void rota__server_door_fini(struct rota__server *server)
{
    rota_free(server->door.addresses);
    server->door.addresses = NULL;
}

/* ---- Addresses */

/* Reads "127.0.0.1:80" or "[::1]:80". Returns false for other addresses, such as those of Unix
 * sockets. */
static bool read_address(const char *text, unsigned char ret_address[16])
{
    char host[INET6_ADDRSTRLEN];
    bool is_v6 = *text == '[';
    const char *end = strrchr(text, is_v6 ? ']' : ':');
    size_t len = end ? (size_t)(end - text) - is_v6 : sizeof host;
    if (len >= sizeof host)
        return false;
    memcpy(host, text + is_v6, len);
    host[len] = '\0';
    memset(ret_address, 0, 16);
    if (!is_v6)
        return inet_pton(AF_INET, host, ret_address + 12) == 1;
    if (inet_pton(AF_INET6, host, ret_address) != 1)
        return false;
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (memcmp(ret_address, mapped, sizeof mapped) == 0) /* an IPv4 client */
        memset(ret_address, 0, sizeof mapped);
    else
        memset(ret_address + 8, 0, 8);
    return true;
}

static struct rota__list *bucket_of(const struct rota__server_door *door,
                                    const unsigned char address[16])
{
    uint64_t hash = door->seed;
    for (size_t i = 0; i < 16; i++)
        hash = (hash ^ address[i]) * 0x9e3779b97f4a7c15u;
    return &door->addresses[(hash >> 40) & (door->buckets - 1)];
}

/* Whether the address may have another connection. If so, counts it. */
static bool enter_address(struct rota__server *server, rota_stream *stream,
                          struct rota__server_visitor *visitor)
{
    struct rota__server_door *door = &server->door;
    size_t count = 0;
    if (!door->addresses || !read_address(rota_stream_peer(stream), visitor->address))
        return true;
    struct rota__list *bucket = bucket_of(door, visitor->address);
    rota__list_each (node, bucket) {
        const struct rota__server_visitor *other =
            rota__container_of(node, struct rota__server_visitor, node);
        count += memcmp(other->address, visitor->address, sizeof visitor->address) == 0;
    }
    if (count >= server->options.connections_per_address)
        return false;
    rota__list_append(bucket, &visitor->node);
    return true;
}

/* ---- Room */

/* Returns how long until a connection may be evicted, or ROTA_NEVER if none rests. */
static rota_time time_to_evict(const struct rota__server *server)
{
    if (rota__list_empty(&server->resting))
        return ROTA_NEVER;
    const struct rota__server_connection *longest =
        rota__container_of(server->resting.next, struct rota__server_connection, node);
    rota_time rested = rota_now() - longest->rests_since;
    return rested < REST ? REST - rested : 0;
}

bool rota__server_evict(struct rota__server *server)
{
    if (time_to_evict(server) > 0)
        return false;
    struct rota__list *node = rota__list_take_first(&server->resting);
    server->counters->evicted++;
    rota__server_cancel(rota__container_of(node, struct rota__server_connection, node));
    return true;
}

static size_t cost(const struct rota__server *server)
{
    return ROTA__SERVER_CONNECTION + (server->options.tls ? ROTA__SERVER_TLS : 0);
}

static bool enter(struct rota__server *server)
{
    if (server->door.inside >= server->options.connections ||
        !rota__budget_take(&server->budget, cost(server)))
        return false;
    server->door.inside++;
    return true;
}

static int await_room(struct rota__server *server)
{
    /* It rests, but cannot be evicted. */
    struct rota__server_connection c = {.task = rota_task_current(), .stop = rota__server_cancel};
    int err = rota__server_be_busy(&c, server);
    server->door.waiting++;
    while (err == 0 && !enter(server)) {
        rota_event_clear(&server->door.room);
        ROTA_TIMEOUT (rota__server_evict(server) ? LEAVING : time_to_evict(server)) {
            err = rota_event_wait(&server->door.room);
        }
        if (err == -ETIMEDOUT)
            err = 0;
    }
    server->door.waiting--;
    rota__list_remove(&c.node);
    return err;
}

int rota__server_admit(struct rota__server *server, rota_stream *stream,
                       struct rota__server_visitor *visitor)
{
    rota__list_init(&visitor->node);
    if (!enter_address(server, stream, visitor)) {
        server->counters->turned_away++;
        rota_stream_abort(stream); /* so that nothing of it is left */
        return -EUSERS;
    }
    int err = enter(server) ? 0 : await_room(server);
    if (err < 0)
        rota__list_remove(&visitor->node);
    return err;
}

void rota__server_dismiss(struct rota__server *server, struct rota__server_visitor *visitor)
{
    rota__server_tell_door(server);
    rota__budget_give(&server->budget, cost(server));
    server->door.inside--;
    rota__list_remove(&visitor->node);
}
