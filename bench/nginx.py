"""nginx as the rows need it: one process, all its files in one directory, as user nobody if root starts it."""

import os
import shutil

CONFIG = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {options}
    server {{
        listen 127.0.0.1:{port};
        {server}
    }}
}}
"""


def sbin(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin") or name


def unprivileged():
    """nginx and HAProxy need no rights; started by root they run as the user nobody, which may not be able to enter this directory."""
    if os.geteuid() != 0:
        return {}
    return {"user": "nobody", "group": "nogroup", "extra_groups": [], "cwd": "/"}


def nginx(directory, port, server=None, options=""):
    """The command that starts it. It serves the files in the directory, or what the lines for `server` say."""
    config = directory / "nginx.conf"
    config.write_text(CONFIG.format(directory=directory, port=port, options=options,
                                    server=server or f"root {directory};"))
    return [sbin("nginx"), "-e", "stderr", "-p", directory, "-c", config]
