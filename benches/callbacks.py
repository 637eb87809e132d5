"""A merchant's system that takes callbacks and notes when each came."""

import http.server
import json
import threading
import time


class Callbacks:
    """The merchant's system that is told of each mail; keeps when it heard of it first."""

    def __init__(self, bench):
        self.at = at = {}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                told = json.loads(self.rfile.read(int(self.headers["content-length"])))
                at.setdefault(told["data"]["recipient"], time.monotonic())
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        bench.undo.callback(thread.join)
        bench.undo.callback(server.shutdown)
