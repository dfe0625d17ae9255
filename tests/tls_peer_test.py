#!/usr/bin/env python3
"""TLS with other programs: our server with openssl s_client, curl and Python, our client with openssl
s_server and Python; with a local authority, and invalid certificates.

usage: tls_peer_test.py TLS_PEER [WORD...]     cases whose names contain one of the words

See native.py; TLS_PEER is tls_peer.c.
"""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading

from native import (DIRECTORY, LIMIT, Program, case, check, free_port, programs, read_all, run, run_cases, server,
                    temporary_directory, tool)

PEER, = programs(1)
WHOLE_FLIGHT = 65536


# ---- Certificates

CA = """
[ca]
default_ca = here
[here]
dir = {directory}
database = {directory}/index.txt
serial = {directory}/serial
crlnumber = {directory}/crlnumber
new_certs_dir = {directory}
certificate = {directory}/ca.pem
private_key = {directory}/ca.key
default_md = sha256
default_days = 30
default_crl_days = 30
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
"""


def path(name):
    return DIRECTORY / name


def openssl(*arguments):
    return run(tool("openssl"), *arguments)


def request(name, *options, names="DNS:localhost,IP:127.0.0.1", subject=None):
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path(f"{name}.key"),
            "-subj", f"/CN={subject or name}", "-addext", f"subjectAltName={names}", *options)
    path(f"{name}.key").chmod(0o644)


def authority(name, subject):
    request(name, "-x509", "-days", "30", "-out", path(f"{name}.pem"), "-addext", "basicConstraints=critical,CA:true",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign", subject=subject)


def sign(name, *options, **more):
    request(name, "-out", path(f"{name}.csr"), **more)
    openssl("ca", "-batch", "-notext", "-config", path("ca.conf"), "-in", path(f"{name}.csr"),
            "-out", path(f"{name}.pem"), *options)


def make_certificates():
    path("ca.conf").write_text(CA.format(directory=DIRECTORY))
    path("index.txt").touch()
    path("serial").write_text("01")
    path("crlnumber").write_text("01")
    authority("ca", "Test Authority")
    authority("stranger", "Stranger")
    sign("good", subject="localhost")
    sign("alice", names="DNS:alice")
    sign("expired", "-startdate", "20200101000000Z", "-enddate", "20200201000000Z")
    sign("early", "-startdate", "20900101000000Z", "-enddate", "20900201000000Z")
    sign("other", names="DNS:other.example")
    sign("revoked")
    sign("foreign", "-cert", path("stranger.pem"), "-keyfile", path("stranger.key"))
    request("selfsigned", "-x509", "-days", "30", "-out", path("selfsigned.pem"))
    openssl("ca", "-config", path("ca.conf"), "-revoke", path("revoked.pem"))
    openssl("ca", "-config", path("ca.conf"), "-gencrl", "-out", path("crl.pem"))


def identity(name):
    return ["--cert", path(f"{name}.pem"), "--key", path(f"{name}.key")]


# ---- Our side

class Peer(Program):
    """tls_peer."""

    def __init__(self, *arguments, variables=None):
        super().__init__(PEER, *arguments, env={**os.environ, **(variables or {})})

    def expect(self, *parts):
        line = self.line()
        for part in parts:
            check(part in line, "no", repr(part), "in", repr(line))
        return line


class Server(Peer):
    def __init__(self, *options, who="good"):
        super().__init__("server", *identity(who), *options)
        self.port = self.announced()

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT)
        s.settimeout(LIMIT)
        return s


@contextlib.contextmanager
def client(port, *options, host="localhost"):
    with Peer("client", host, port, "--ca", path("ca.pem"), *options) as peer:
        yield peer
        check(peer.process.wait(LIMIT) == 0, "the client exited with", peer.process.returncode)


# ---- The other side

def run_with(text, *command):
    """What a command says when it hears the text; it may fail."""
    done = subprocess.run([str(c) for c in command], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=LIMIT, check=False)
    return done.returncode, done.stdout


def s_client(port, *options, text="hello\nbye\n", quiet="-quiet"):
    _, output = run_with(text, tool("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", path("ca.pem"),
                         "-verify_return_error", *([quiet] if quiet else ["-ign_eof"]), *options)
    return output


@contextlib.contextmanager
def typing(port, *options):
    """s_client, whose single letters are commands; gives a function that writes a line and waits for an answer."""
    process = subprocess.Popen([tool("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile",
                                str(path("ca.pem")), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    watchdog = threading.Timer(LIMIT, process.kill)
    watchdog.start()

    def write(line, answer):
        process.stdin.write(line + "\n")
        process.stdin.flush()
        while answer not in (heard := process.stdout.readline()):
            check(heard, "s_client ended without", answer)
    yield write
    watchdog.cancel()
    process.kill()
    process.communicate()


def curl(port, *options, page=""):
    return run_with("", tool("curl"), "--silent", "--show-error", "--cacert", path("ca.pem"), *options,
                    f"https://localhost:{port}/{page}")


@contextlib.contextmanager
def s_server(*options, who="good"):
    port = free_port()
    with server([tool("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-cert", path(f"{who}.pem"),
                 "-key", path(f"{who}.key"), "-quiet", "-rev", *options], port):
        yield port


def trusting():
    return ssl.create_default_context(cafile=path("ca.pem"))


def serving():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path("good.pem"), path("good.key"))
    return context


@contextlib.contextmanager
def listening(serve):
    """A server whose only connection a function of ours handles."""
    problems = []

    def accept():
        try:
            s, _ = listener.accept()
            with s:
                s.settimeout(LIMIT)
                serve(s)
        except Exception as e:
            problems.append(e)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(LIMIT)
    check(not problems, problems)


VERSIONS = {"1.2": "-tls1_2", "1.3": "-tls1_3"}


# ---- Our server

@case
def s_client_talks_to_our_server():
    with Server("--alpn", "h2,http/1.1") as peer:
        for version, flag in VERSIONS.items():
            text = s_client(peer.port, flag, "-servername", "localhost", "-verify_hostname", "localhost",
                            "-alpn", "http/1.1")
            check("you said hello" in text, text)
            peer.expect("open", f"TLSv{version}", "alpn=http/1.1", "name=localhost", "resumed=0")
            peer.expect("line hello")
            peer.expect("line bye")
            peer.expect("end")


@case
def curl_talks_to_our_server():
    with Server("--alpn", "http/1.1") as peer, temporary_directory() as directory:
        for version in VERSIONS:
            status, text = curl(peer.port, f"--tlsv{version}", "--tls-max", version)
            check(status == 0 and text == "hello over TLS\n", status, text)
            peer.expect("open", f"TLSv{version}", "alpn=http/1.1", "name=localhost")
            peer.expect("line GET / ")
            peer.expect("end")
        status, text = curl(peer.port, "-o", directory / "big", page="big")
        check(status == 0 and (directory / "big").stat().st_size == 1000000, status, text)


@case
def curl_refuses_our_server_with_a_certificate_that_is_no_good():
    for who, words in (("expired", "certificate expired"), ("selfsigned", "unknown CA"), ("foreign", "unknown CA")):
        with Server(who=who) as peer:
            status, text = curl(peer.port)
            check(status == 60 and "SSL certificate problem" in text, who, status, text)
            peer.expect("failed: ", f"peer says: {words}")


@case
def sessions_are_resumed_by_s_client_and_curl():
    for version, flag in VERSIONS.items():
        with Server() as peer:
            session = path("session.pem")
            s_client(peer.port, flag, "-sess_out", session)
            for line in ("open", "line hello", "line bye", "end"):
                peer.expect(line)
            check("Reused, " in s_client(peer.port, flag, "-sess_in", session, quiet=""))
            peer.expect("open", "resumed=1")
    with Server() as peer:  # curl takes tickets of TLS 1.3 only, and we keep nothing but tickets
        status, text = curl(peer.port, "-H", "Connection: close", f"https://localhost:{peer.port}/")
        check(status == 0 and text == "hello over TLS\n" * 2, status, text)
        for line in ("resumed=0", "line", "end", "resumed=1"):
            peer.expect(line)

@case
def clients_show_our_server_their_certificates():
    with Server("--ca", path("ca.pem"), "--crl", path("crl.pem"), "--clients", "must") as peer:
        for who, words in (("alice", None), ("expired", "certificate has expired"),
                           ("revoked", "certificate has been revoked"), ("selfsigned", "certificate is self-signed"),
                           ("foreign", "unknown certificate authority: Stranger"),
                           (None, "peer shows no certificate")):
            shown = ["--cert", path(f"{who}.pem"), "--key", path(f"{who}.key")] if who else []
            status, text = curl(peer.port, *shown)
            check((status == 0) == (words is None), who, status, text)
            if words:
                peer.expect("failed: ", words)
            else:
                peer.expect("open", "subject=CN=alice")
                peer.expect("line GET")
                peer.expect("end")
        check("you said hello" in s_client(peer.port, "-cert", path("alice.pem"), "-key", path("alice.key")))
        peer.expect("open", "subject=CN=alice")


@case
def s_client_finds_no_protocol_or_version_in_common():
    with Server("--alpn", "h2") as peer:
        check("no application protocol" in s_client(peer.port, "-alpn", "imap"))
        peer.expect("failed: ", "no application protocol in common")
    with Server("--min", "1.3") as peer:
        check("protocol version" in s_client(peer.port, "-tls1_2"))
        peer.expect("failed: ", "no TLS version in common")


@case
def nothing_before_tls_1_2_is_spoken():
    weak = ("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")
    with Server() as peer:
        check("protocol version" in s_client(peer.port, *weak))
        peer.expect("failed: ", "no TLS version in common")
    with s_server(*weak) as port, client(port) as peer:
        peer.expect("failed: ", "no TLS version in common")


@case
def s_client_upgrades_by_starttls():
    with Server("--starttls", "1") as peer:
        check("you said hello" in s_client(peer.port, "-starttls", "smtp", "-verify_hostname", "localhost"))
        peer.expect("open")


@case
def s_client_updates_keys_and_may_not_renegotiate():
    with Server() as peer, typing(peer.port, "-tls1_3") as write:
        peer.expect("open")
        for command, answer in (("K", "KEYUPDATE"), ("hello", "you said hello"), ("k", "KEYUPDATE"),
                                ("again", "you said again")):
            write(command, answer)
        write("bye", "closed")
    with Server() as peer, typing(peer.port, "-tls1_2") as write:
        peer.expect("open")
        write("hello", "you said hello")
        peer.expect("line hello")
        write("R", "RENEGOTIATING")
        peer.expect("error: ", "peer wants to renegotiate, which is refused")


@case
def end_and_truncation_are_told_apart_by_our_server():
    with Server() as peer:
        for cut in (False, True):
            with trusting().wrap_socket(peer.connect(), server_hostname="localhost",
                                        suppress_ragged_eofs=False) as s:
                s.sendall(b"hello\n")
                check(s.recv(100) == b"you said hello\n")
                if cut:
                    s.close()
                else:
                    s.unwrap()
            peer.expect("open")
            peer.expect("line hello")
            peer.expect("error: ", "connection was cut off before its end") if cut else peer.expect("end")
        with trusting().wrap_socket(peer.connect(), server_hostname="localhost", suppress_ragged_eofs=False) as s:
            s.sendall(b"bye\n")
            check(s.recv(100) == b"", "our server says no close_notify")


def first_words():
    """What a client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        trusting().wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def answer_to(hello):
    """What a server says to that."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(hello)
    with contextlib.suppress(ssl.SSLWantReadError):
        serving().wrap_bio(incoming, outgoing, server_side=True).do_handshake()
    return outgoing.read()


@case
def clients_that_stall_cut_or_speak_no_tls_are_told_by_our_server():
    hello = first_words()
    with Server("--timeout", "0.3") as peer:
        for said in (b"", hello[:50], hello):
            with peer.connect() as s, contextlib.suppress(OSError):
                s.sendall(said)
                read_all(s)
            peer.expect("failed: ", "not complete within 0.3 s")
        with peer.connect() as s:
            s.sendall(hello[:50])
            s.shutdown(socket.SHUT_WR)
            peer.expect("failed: ", "peer closed the connection during the TLS handshake")
        status, _ = run_with("", tool("curl"), "--silent", f"http://127.0.0.1:{peer.port}/")
        check(status != 0)
        peer.expect("failed: ", "peer speaks HTTP, not TLS")
        with peer.connect() as s, contextlib.suppress(OSError):
            s.sendall(b"\x00\x01 something else \xff" * 20)
            read_all(s)
        peer.expect("failed: ", "peer does not speak TLS")
        status, text = curl(peer.port)
        check(status == 0, "others are not served any more:", text)


@case
def commands_slipped_in_before_the_upgrade_reach_nobody():
    with Server("--starttls", "1") as peer:
        with peer.connect() as s, contextlib.suppress(OSError):
            s.recv(100)
            s.sendall(b"STARTTLS\r\nRCPT TO:<victim@example>\r\n" + first_words())
            read_all(s)
        peer.expect("failed: ", "peer does not speak TLS")


@case
def others_talk_to_our_server_where_the_kernel_encrypts_for_it():
    with Server("--kernel", "1") as peer, temporary_directory() as directory:
        for version, flag in VERSIONS.items():
            check("you said hello" in s_client(peer.port, flag))
            for line in (f"open TLSv{version}", "line hello", "line bye", "end"):
                peer.expect(line)
            status, text = curl(peer.port, "--tlsv1.2", "--tls-max", version, "-o", directory / "big", page="big")
            check(status == 0 and (directory / "big").stat().st_size == 1000000, status, text)
            for line in (f"open TLSv{version}", "line GET", "end"):
                peer.expect(line)
        status, text = curl(peer.port, "-H", "Connection: close", f"https://localhost:{peer.port}/")
        check(status == 0, status, text)
        for line in ("resumed=0", "line GET", "end", "resumed=1"):
            peer.expect(line)
    with Server("--kernel", "1") as peer:
        with trusting().wrap_socket(peer.connect(), server_hostname="localhost", suppress_ragged_eofs=False) as s:
            s.sendall(b"bye\n")
            check(s.recv(100) == b"", "our server says no close_notify")


# ---- Our client

@case
def our_client_talks_to_s_server_where_the_kernel_encrypts_for_it():
    for flag in VERSIONS.values():
        with s_server(flag) as port, client(port, "--kernel", "1", "--times", "2") as peer:
            for resumed in (0, 1):
                peer.expect("open", f"resumed={resumed}")
                peer.expect("line olleh")


@case
def our_client_talks_to_s_server():
    for version, flag in VERSIONS.items():
        with s_server(flag, "-alpn", "http/1.1") as port, client(port, "--alpn", "h2,http/1.1") as peer:
            peer.expect("open", f"TLSv{version}", "alpn=http/1.1", "subject=CN=localhost")
            peer.expect("line olleh")


@case
def our_client_refuses_s_server_with_a_certificate_that_is_no_good():
    for who, words in (("expired", "certificate has expired"), ("early", "certificate is not yet valid"),
                       ("other", "certificate is for other.example, not localhost"),
                       ("selfsigned", "certificate is self-signed"), ("revoked", "certificate has been revoked"),
                       ("foreign", "unknown certificate authority: Stranger")):
        for version in VERSIONS:
            with s_server(who=who) as port, client(port, "--crl", path("crl.pem"), "--max", version) as peer:
                peer.expect("failed: ", words)
    with s_server() as port:
        with client(port, "--crl", path("crl.pem"), host="127.0.0.1") as peer:
            peer.expect("open")
        with client(port, host="127.0.0.2") as peer:
            peer.expect("failed: ")


@case
def without_named_authorities_our_client_trusts_those_of_the_system():
    directory = path("authorities")
    directory.mkdir(exist_ok=True)
    shutil.copy(path("ca.pem"), directory)
    openssl("rehash", directory)
    with s_server() as port:
        for variables, options, answer in (({}, (), "failed: "),
                                           ({"SSL_CERT_FILE": path("ca.pem")}, (), "open"),
                                           ({"SSL_CERT_DIR": directory}, (), "open"),
                                           ({}, ("--ca-path", directory), "open"),
                                           ({"SSL_CERT_FILE": path("ca.pem")}, ("--ca-path", "/"), "failed: ")):
            with Peer("client", "localhost", port, *options, variables=variables) as peer:
                peer.expect(answer)


@case
def our_client_resumes_sessions_of_s_server():
    for flag in VERSIONS.values():
        with s_server(flag) as port, client(port, "--times", "3") as peer:
            for resumed in (0, 1, 1):
                peer.expect("open", f"resumed={resumed}")
                peer.expect("line olleh")


@case
def our_client_asks_s_server_for_a_host_by_its_name():
    with s_server("-servername", "localhost", "-cert2", path("good.pem"), "-key2", path("good.key"),
                  who="other") as port:
        with client(port) as peer:
            peer.expect("open", "name=localhost", "subject=CN=localhost")
        with client(port, host="127.0.0.1") as peer:
            peer.expect("failed: ", "certificate is for other.example, not 127.0.0.1")


@case
def our_client_shows_s_server_its_certificate():
    options = ["-CAfile", path("ca.pem"), "-Verify", "1", "-verify_return_error"]
    for version in VERSIONS:
        with s_server(*options) as port:
            with client(port, "--max", version, *identity("alice")) as peer:
                peer.expect("open")
                peer.expect("line olleh")
            with client(port, "--max", version, *identity("foreign")) as peer:
                text = peer.process.stdout.read()
                check("peer says: unknown CA" in text, text)
            with client(port, "--max", version) as peer:
                text = peer.process.stdout.read()
                check("wants a certificate of ours" in text or "peer says: handshake failure" in text, text)


@case
def our_client_finds_no_version_in_common_with_s_server():
    with s_server("-tls1_2") as port, client(port, "--min", "1.3") as peer:
        peer.expect("failed: ", "no TLS version in common")


@case
def end_and_truncation_are_told_apart_by_our_client():
    for cut in (False, True):
        def serve(plain, cut=cut):
            with serving().wrap_socket(plain, server_side=True) as s:
                check(s.recv(100) == b"hello\n")
                s.sendall(b"in part\n")
                s.close() if cut else s.unwrap()
        with listening(serve) as port, client(port, "--to-end", "1") as peer:
            peer.expect("open")
            peer.expect("line in part")
            peer.expect("error: ", "connection was cut off before its end") if cut else peer.expect("end")


@case
def servers_that_stall_cut_or_speak_no_tls_are_told_by_our_client():
    def stall(s, whole=WHOLE_FLIGHT):
        s.sendall(answer_to(s.recv(WHOLE_FLIGHT))[:whole])
        with contextlib.suppress(OSError):
            read_all(s)

    def cut(s):
        s.sendall(answer_to(s.recv(WHOLE_FLIGHT))[:100])

    def greet(s):
        s.sendall(b"220 mail.example ready\r\n")
        with contextlib.suppress(OSError):
            read_all(s)

    for serve, words in ((lambda s: stall(s, 0), "not complete within 0.3 s"),
                         (lambda s: stall(s, 100), "not complete within 0.3 s"),
                         (cut, "peer closed the connection during the TLS handshake"),
                         (greet, "peer does not speak TLS")):
        with listening(serve) as port, client(port, "--timeout", "0.3") as peer:
            peer.expect("failed: ", words)


@case
def our_client_upgrades_by_starttls_and_takes_nothing_slipped_in_before():
    for slipped in (b"", b"250 slipped in\r\n"):
        def serve(plain, slipped=slipped):
            plain.sendall(b"220 here\r\n")
            check(plain.recv(100) == b"STARTTLS\r\n")
            plain.sendall(b"220 go ahead\r\n" + slipped)
            if slipped:
                with contextlib.suppress(OSError):
                    read_all(plain)
                return
            with serving().wrap_socket(plain, server_side=True) as s:
                check(s.recv(100) == b"hello\n")
                s.sendall(b"encrypted\n")
                s.unwrap()
        with listening(serve) as port, client(port, "--starttls", "1") as peer:
            if slipped:
                peer.expect("failed: ", "peer does not speak TLS")
            else:
                peer.expect("open")
                peer.expect("line encrypted")


if __name__ == "__main__":
    make_certificates()
    run_cases()
