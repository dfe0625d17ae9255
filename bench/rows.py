"""All rows by their names, in the order and under the topics of the table."""

from client import http_client
from http_server import http, http_head
from idle import idle
from proxy import proxy
from runtime import parked, pool, queue, spawn, switch, timer, yield_
from servers import echo, tls, udp, websocket
from system import cold, files, message, process

TOPICS = {
    "Tasks": {"switch": switch, "yield": yield_, "spawn": spawn, "queue": queue, "timer": timer,
              "parked": parked},
    "Threads": {"pool": pool, "message": message},
    "Network": {"echo": echo, "proxy": proxy, "tls": tls, "udp": udp},
    "HTTP": {"http_head": http_head, "http": http, "idle": idle, "http_client": http_client, "websocket": websocket},
    "Files and processes": {"files": files, "cold": cold, "process": process},
}
ROWS = {name: fill for rows in TOPICS.values() for name, fill in rows.items()}


def measure(bench, name):
    """The rows of a name, filled."""
    topic = next(topic for topic, rows in TOPICS.items() if name in rows)
    rows = ROWS[name](bench)
    for row in rows:
        row.topic = topic
    return rows
