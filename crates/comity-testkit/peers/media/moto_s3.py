"""Media files in a bucket of PyPI moto's S3 server, put there by the partner server; one JSON object for each case."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import traceback

os.environ.update(AWS_ACCESS_KEY_ID="testing", AWS_SECRET_ACCESS_KEY="testing", AWS_DEFAULT_REGION="eu-central-1")

import boto3
import requests
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

USER, SECRET, BUCKET, PREFIX = "alice@partner.test", "correct-horse", "media", "of/partner"
TUS = {"Tus-Resumable": "1.0.0"}
SMALL, LARGE = 100_003, 20_000_003  # one request, several parts


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_):
        pass


class Store:
    """moto, which can hold a request until it is told to go on: before it takes effect, which it then never does, or after."""

    def __init__(self):
        self.app = DomainDispatcherApplication(create_backend_app)
        self.hold, self.holds, self.go_on = None, threading.Event(), threading.Event()
        self.one = threading.Lock()  # moto's state knows no threads
        server = make_server("127.0.0.1", 0, self.serve, True, request_handler=Quiet)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.s3 = boto3.client("s3", endpoint_url=self.url)
        place = {"LocationConstraint": "eu-central-1"}
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)

    def serve(self, environ, start_response):
        before, wanted = self.hold or (None, None)
        held = wanted is not None and wanted(environ["REQUEST_METHOD"], environ.get("QUERY_STRING", ""))
        if held:
            self.hold = None
            if before:
                self.wait()
                # What was on its way never arrives.
                start_response("503 Slow Down", [])
                return [b""]
        with self.one:
            answer = list(self.app(environ, start_response))
        if held:
            self.wait()
        return answer

    def wait(self):
        self.holds.set()
        self.go_on.wait()

    def hold_next(self, before, wanted):
        self.holds.clear()
        self.go_on.clear()
        self.hold = (before, wanted)

    def names(self):
        return [entry["Key"] for entry in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def under_way(self):
        return len(self.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []))


class Partner:
    """The partner server's own binary, on one data directory and port."""

    def __init__(self, directory, store):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.origin, self.data = f"http://{address}", os.path.join(directory, "data")
        self.config = os.path.join(directory, "partner.toml")
        with open(self.config, "w") as file:
            file.write(
                f"listen = '{address}'\nsandbox = true\nrequire_bearer = false\ndata_dir = '{self.data}'\n"
                f"[[users]]\nid = '{USER}'\nsecret = '{SECRET}'\n"
                f"[s3]\nendpoint = '{store.url}'\nregion = 'eu-central-1'\nbucket = '{BUCKET}'\nprefix = '{PREFIX}'\n"
                "access_key_id = 'testing'\nsecret_access_key = 'testing'\n"
            )
        self.run()

    def run(self):
        command = [os.environ["COMITY_PARTNER"], "--config", self.config]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.child.stdout.readline().startswith("ready partner"), "the partner server did not start"

    def stop(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()

    def ask(self, method, path, headers=None, **more):
        return requests.request(
            method, self.origin + path, headers={**TUS, **(headers or {})}, auth=(USER, SECRET), timeout=60, **more
        )

    def begin(self, plain):
        answer = self.ask("POST", "/v1/uploads", {"Upload-Length": str(len(plain))})
        assert answer.status_code == 201, answer.text
        return answer.headers["location"]

    def send(self, upload, plain, offset=0):
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        return self.ask("PATCH", upload, headers, data=plain[offset:])

    def local(self):
        """Files of media that are on the server's own disk."""
        found = []
        for _, _, files in os.walk(os.path.join(self.data, "media")):
            found += files
        return found


def fetch(partner, reference, expected, ranged=None):
    headers = {"Range": f"bytes={ranged}"} if ranged else {}
    answer = requests.get(f"{partner.origin}/media/{reference}", headers=headers, timeout=60)
    assert answer.status_code == (206 if ranged else 200), answer.status_code
    assert answer.content == expected, "other bytes came"
    assert answer.headers["content-length"] == str(len(expected))


def round_trip(store, partner):
    for size in (0, SMALL, LARGE):
        plain = os.urandom(size)
        # In parts, and at once.
        upload = partner.begin(plain)
        if size:
            half = size // 2
            assert partner.send(upload, plain[:half]).headers["upload-offset"] == str(half)
            assert store.names() == [], "half a file is visible"
            assert partner.send(upload, plain, half).headers["upload-offset"] == str(size)
        first = upload.rsplit("/", 1)[1]
        posted = partner.ask("POST", "/v1/media", data=plain)
        assert posted.status_code == 201, posted.text
        second = posted.json()["storage_reference"]
        assert sorted(store.names()) == sorted(f"{PREFIX}/{name}" for name in (first, second)), store.names()
        assert partner.local() == [], "a copy is left behind"
        for reference in (first, second):
            fetch(partner, reference, plain)
            for begin, end in ((0, 0), (1, 70_000), (size - 5, size - 1), (8_388_600, 8_388_616)):
                if 0 <= begin <= end < size:
                    fetch(partner, reference, plain[begin : end + 1], f"{begin}-{end}")
            if size:
                fetch(partner, reference, plain[-17:], "-17")
            over = requests.get(
                f"{partner.origin}/media/{reference}", headers={"Range": f"bytes={size}-"}, timeout=60
            )
            assert over.status_code == 416, over.status_code
        # Deleted is deleted; and what was deleted behind the server's back is not there.
        assert partner.ask("DELETE", upload).status_code == 204
        assert store.names() == [f"{PREFIX}/{second}"], store.names()
        store.s3.delete_object(Bucket=BUCKET, Key=f"{PREFIX}/{second}")
        for reference in (first, second):
            gone = requests.get(f"{partner.origin}/media/{reference}", timeout=60)
            assert gone.status_code == 404, gone.status_code
        assert partner.ask("DELETE", upload).status_code == 404
    assert store.names() == [] and store.under_way() == 0


def restart(store, partner):
    moments = {
        "the first part is on its way": (True, lambda method, query: method == "PUT" and "partNumber=1" in query),
        "the second part is stored": (False, lambda method, query: method == "PUT" and "partNumber=2" in query),
        "it is to be completed": (True, lambda method, query: method == "POST" and "uploadId=" in query),
        "it is complete": (False, lambda method, query: method == "POST" and "uploadId=" in query),
    }
    for moment, (before, wanted) in moments.items():
        plain = os.urandom(LARGE)
        upload = partner.begin(plain)
        reference = upload.rsplit("/", 1)[1]
        store.hold_next(before, wanted)

        def broken():
            try:
                partner.send(upload, plain)
            except requests.RequestException:
                pass

        sender = threading.Thread(target=broken)
        sender.start()
        assert store.holds.wait(60), moment
        complete = moment == "it is complete"
        if not complete:
            seen = requests.get(f"{partner.origin}/media/{reference}", timeout=60)
            assert seen.status_code == 404, f"{moment}: visible before it is whole"
        partner.stop()
        store.go_on.set()
        sender.join()
        partner.run()
        assert store.under_way() == 0, f"{moment}: half an object is left"
        assert (store.names() != []) == complete, moment
        head = partner.ask("HEAD", upload)
        assert head.status_code == 200 and head.headers["upload-offset"] == str(LARGE), moment
        assert head.headers["content-location"] == f"/media/{reference}"
        fetch(partner, reference, plain)
        assert store.names() == [f"{PREFIX}/{reference}"] and partner.local() == [], moment
        assert partner.ask("DELETE", upload).status_code == 204
        assert store.names() == [] and store.under_way() == 0


bucket = Store()
for case, run in (("s3-round-trip", round_trip), ("s3-restart", restart)):
    outcome = {"result": "ok", "reason": ""}
    with tempfile.TemporaryDirectory(prefix="s3-", dir=".") as folder:
        server = None
        try:
            server = Partner(os.path.abspath(folder), bucket)
            run(bucket, server)
        except Exception as error:
            traceback.print_exc()
            outcome = {"result": "fail", "reason": (str(error) or repr(error)).split("\n")[0]}
        if server:
            server.stop()
    print(json.dumps({"peer": "moto", "case": case, **outcome}), flush=True)
