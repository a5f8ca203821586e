"""A back end for comity-partner's sidecar mode: who is this user (/auth), and wake this user's device (/push)."""
import base64, hashlib, hmac, json, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = base64.b64decode(open(sys.argv[1]).read().strip().removeprefix("whsec_"))
SESSIONS = {"Bearer alices-session": "alice@partner.test"}  # yours: cookies, access tokens, whatever clients send

def signed(headers, body):
    """Whether comity-partner sent this, within the last five minutes."""
    identifier, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not at.isdecimal() or abs(time.time() - int(at)) > 300:
        return False
    mac = hmac.new(SECRET, f"{identifier}.{at}.".encode() + body, hashlib.sha256)
    expected = "v1," + base64.b64encode(mac.digest()).decode()
    return any(hmac.compare_digest(expected, given) for given in headers.get("webhook-signature", "").split())

class Backend(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(min(int(self.headers.get("content-length", 0)), 4096))
        if not signed(self.headers, body):
            return self.answer(400)
        if self.path == "/auth":
            user = SESSIONS.get(self.headers.get("authorization"))
            return self.answer(200, {"user_visible_id": user}) if user else self.answer(401)
        if self.path == "/push":
            user = json.loads(body)["to"]
            if user not in SESSIONS.values():
                return self.answer(410)
            print("wake", user, flush=True)  # yours: APNs, FCM, a socket
            return self.answer(204)
        self.answer(404)

    def answer(self, status, value=""):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode() if value else b"")

server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Backend)
print("listening", server.server_port, flush=True)
server.serve_forever()
