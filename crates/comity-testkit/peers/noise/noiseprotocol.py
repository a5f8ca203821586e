"""Cases noise.noiseprotocol-py.*: PyPI `noiseprotocol` against our plain profile, in both roles (PROTOCOL §5.2).

python noiseprotocol.py NOISE_PEER [CASE]..   NOISE_PEER is the built example `noise_peer`.
"""

import json
import os
import socket
import struct
import subprocess
import sys
import threading

# This file's name is the package's: do not import ourselves.
sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(os.path.abspath(__file__))]
from noise.connection import Keypair, NoiseConnection  # noqa: E402

PEER = "noiseprotocol"
XX, IK = b"Noise_XX_25519_AESGCM_SHA256", b"Noise_IK_25519_AESGCM_SHA256"
PROLOGUE = b"comity"
SIZES = [0, 1, 1000, 65519]  # the package stops at 65,535 with the tag


def check(ok, what):
    if not ok:
        raise AssertionError(what)


class Frames:
    def __init__(self, sock):
        self.sock = sock
        sock.settimeout(10)

    def send(self, body):
        self.sock.sendall(struct.pack(">I", len(body))[1:] + bytes(body))

    def exactly(self, n):
        data = b""
        while len(data) < n:
            piece = self.sock.recv(n - len(data))
            if not piece:
                return None
            data += piece
        return data

    def receive(self):
        head = self.exactly(3)
        return None if head is None else self.exactly(int.from_bytes(head, "big"))


def session(name, initiator, private, remote=None):
    noise = NoiseConnection.from_name(name)
    noise.set_as_initiator() if initiator else noise.set_as_responder()
    noise.set_prologue(PROLOGUE)
    noise.set_keypair_from_private_bytes(Keypair.STATIC, private)
    if remote:
        noise.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, remote)
    noise.start_handshake()
    return noise


def public(private):
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def start(peer, *args):
    command = [peer, *args, "--prologue", PROLOGUE.hex()]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def we_initiate(peer, name):
    """Their initiator, our responder."""
    child = start(peer, "responder", "plain", "127.0.0.1:0")
    try:
        ready = json.loads(child.stdout.readline())
        host, port = ready["ready"].split(":")
        server_key, private, login = bytes.fromhex(ready["server_key"]), os.urandom(32), os.urandom(100)
        noise = session(name, True, private, server_key if name == IK else None)
        with socket.create_connection((host, int(port))) as sock:
            frames = Frames(sock)
            frames.send(noise.write_message(login if name == IK else b""))
            check(len(noise.read_message(frames.receive())) > 100, "the certificate chain is missing")
            if name == XX:
                frames.send(noise.write_message(login))
            check(noise.handshake_finished, "the handshake is not finished")
            for size in SIZES:
                text = os.urandom(size)
                frames.send(noise.encrypt(text))
                check(noise.decrypt(frames.receive()) == text, f"{size} bytes did not come back")
            sock.shutdown(socket.SHUT_WR)
            result = json.loads(child.stdout.readline())
        check(result["pattern"] == name[6:8].decode(), result)
        check(result["client"] == public(private).hex(), "another client key was proved")
        check(result["login"] == login.hex(), "another login arrived")
        check(result["messages"] == len(SIZES), "messages were lost")
        check(child.wait(10) == 0, "the responder failed")
    finally:
        child.kill()


def we_respond(peer, name):
    """Our initiator, their responder."""
    private, fault, logins = os.urandom(32), [], []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve():
            try:
                sock, _ = listener.accept()
                with sock:
                    frames, noise = Frames(sock), session(name, False, private)
                    logins.append(bytes(noise.read_message(frames.receive())))
                    frames.send(noise.write_message(b""))
                    if name == XX:
                        logins.append(bytes(noise.read_message(frames.receive())))
                    while (body := frames.receive()) is not None:
                        frames.send(noise.encrypt(noise.decrypt(body)))
            except Exception as e:  # told by the case
                fault.append(repr(e))

        thread = threading.Thread(target=serve)
        thread.start()
        address = "127.0.0.1:%d" % listener.getsockname()[1]
        resume = ["--resume"] if name == IK else []
        child = start(peer, "initiator", "plain", address, "--server-key", public(private).hex(), *resume)
        line = child.stdout.readline()
        status = child.wait(10)
        thread.join(10)
    check(not fault, fault)
    check(status == 0, "the initiator failed")
    check(json.loads(line)["pattern"] == name[6:8].decode(), line)
    check(logins[-1] == b"a login", "another login arrived")


CASES = {
    "noise.noiseprotocol-py.xx-plain-initiator": lambda peer: we_initiate(peer, XX),
    "noise.noiseprotocol-py.xx-plain-responder": lambda peer: we_respond(peer, XX),
    "noise.noiseprotocol-py.ik-plain": lambda peer: (we_initiate(peer, IK), we_respond(peer, IK)),
}


def main():
    peer, wanted, failed = sys.argv[1], sys.argv[2:], False
    for case, run in CASES.items():
        if wanted and case not in wanted:
            continue
        outcome = {"peer": PEER, "case": case, "result": "pass", "reason": ""}
        try:
            run(peer)
        except Exception as e:
            outcome.update(result="fail", reason=str(e) or repr(e))
            failed = True
        print(json.dumps(outcome), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
