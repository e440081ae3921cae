import base64
import hmac
import json
import os
import sqlite3
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEYS = [base64.b64decode(secret.removeprefix("whsec_")) for secret in os.environ["WEBHOOK_SECRETS"].split()]
EVENTS = os.environ.get("EVENTS", "events.db")
TOLERANCE = 300  # seconds
LARGEST = 8 * 1024 * 1024


def is_genuine(headers, body):
    moment, given = headers.get("webhook-timestamp", ""), headers.get("webhook-signature", "").split()
    if not moment.isdecimal() or abs(time.time() - int(moment)) > TOLERANCE:
        return False
    signed = f"{headers.get('webhook-id')}.{moment}.".encode() + body
    digests = [hmac.digest(key, signed, "sha256") for key in KEYS]
    expected = [b"v1," + base64.b64encode(digest) for digest in digests]
    return any(hmac.compare_digest(one, other.encode()) for one in expected for other in given)


def store(event_id, body):
    """Whether it is new; it is on disk when this returns."""
    with closing(sqlite3.connect(EVENTS)) as db, db:
        db.execute("CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, body BLOB)")
        return db.execute("INSERT OR IGNORE INTO events VALUES (?, ?)", (event_id, body)).rowcount == 1


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        if length > LARGEST:
            return self.answer(413)
        body = self.rfile.read(length)
        if not is_genuine(self.headers, body):
            return self.answer(401)
        try:
            new = store(self.headers["webhook-id"], body)
        except sqlite3.Error:
            return self.answer(503)
        self.answer(204)
        if new:
            event = json.loads(body)
            print(event["time"], event["subject"], event["data"]["status"], flush=True)

    def answer(self, status):
        self.send_response(status)
        self.end_headers()

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Receiver)
    print("listening on port", server.server_port, flush=True)
    server.serve_forever()
