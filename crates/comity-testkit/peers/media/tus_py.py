"""Resumable upload (docs/PROTOCOL.md §10) by PyPI tuspy to the partner server; one JSON object for the case."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import tempfile
import traceback

import requests
from tusclient.client import TusClient

USER, SECRET = "alice@partner.test", "correct-horse"


class Partner:
    """The partner server's own binary, on one data directory and port."""

    def __init__(self, directory):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.origin = f"http://{address}"
        self.config = os.path.join(directory, "partner.toml")
        with open(self.config, "w") as file:
            file.write(
                f"listen = '{address}'\nsandbox = true\nrequire_bearer = false\ndata_dir = '{directory}/data'\n"
                f"[[users]]\nid = '{USER}'\nsecret = '{SECRET}'\n"
            )
        self.run()

    def run(self):
        command = [os.environ["COMITY_PARTNER"], "--config", self.config]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.child.stdout.readline().startswith("ready partner"), "the partner server did not start"

    def stop(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()


def upload_resume(partner):
    basic = "Basic " + base64.b64encode(f"{USER}:{SECRET}".encode()).decode()
    client = TusClient(f"{partner.origin}/v1/uploads", headers={"Authorization": basic})
    for checksum in (False, True):
        plain = os.urandom(7_000_003)

        def uploader(url=None):
            return client.uploader(
                file_stream=io.BytesIO(plain), url=url, chunk_size=1 << 20, upload_checksum=checksum, retries=0
            )

        first = uploader()
        first.upload_chunk()
        first.upload_chunk()
        assert first.offset == 2 << 20, first.offset
        partner.stop()
        partner.run()
        second = uploader(first.url)
        assert second.offset == 2 << 20, second.offset
        second.upload()
        reference = first.url.rsplit("/", 1)[1]
        answer = requests.get(f"{partner.origin}/media/{reference}")
        assert answer.status_code == 200 and answer.content == plain
        assert answer.headers["content-disposition"] == "attachment"
        head = requests.head(first.url, headers={"Authorization": basic, "Tus-Resumable": "1.0.0"})
        assert head.headers["upload-offset"] == str(len(plain))


outcome = {"result": "ok", "reason": ""}
with tempfile.TemporaryDirectory(prefix="tus-", dir=".") as folder:
    server = Partner(os.path.abspath(folder))
    try:
        upload_resume(server)
    except Exception as error:
        traceback.print_exc()
        outcome = {"result": "fail", "reason": str(error).split("\n")[0]}
    server.stop()
print(json.dumps({"peer": "tuspy", "case": "upload-resume", **outcome}), flush=True)
