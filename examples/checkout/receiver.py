#!/usr/bin/env python3
"""Takes what slowburn posts to 127.0.0.1:8080 and prints it, one line a notification."""
import http.server
import json


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["slowburn"]
        print(told["at"], told["reason"], told["summary"], flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Receiver).serve_forever()
