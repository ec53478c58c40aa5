#!/usr/bin/env python3
"""Runs a Lambda function for identities behind HTTP: each POST becomes an invocation, answered as
Lambda's own Invoke answers it, an error included.

    python3 run_local.py --listen 127.0.0.1:8000 --handler lambda_function.lambda_handler
"""

import argparse
import importlib
import json
import sys
import traceback
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

EVENT_BYTES_MAX = 64 * 1024


class Invocations(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120
    # Header and body leave in one piece; otherwise the second waits for an acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self):
        try:
            length = int(self.headers["Content-Length"])
            if not 0 <= length <= EVENT_BYTES_MAX:
                raise ValueError("length")
            event = json.loads(self.rfile.read(length))
        except (TypeError, ValueError):
            self.close_connection = True
            return self.reply(400, '{"error": "not an event"}')
        name = self.server.function.__name__
        context = SimpleNamespace(
            function_name=name, aws_request_id=str(uuid.uuid4()),
            get_remaining_time_in_millis=lambda: 10_000,
        )
        try:
            text = json.dumps(self.server.function(event, context))
        except Exception as error:
            # Where it was raised, without the error's text: that may quote the event.
            traceback.print_tb(error.__traceback__)
            # Lambda says so with status 200. Functions raise to deny, and a login is then refused;
            # 502 would say that nobody can log in.
            raised = {"errorMessage": str(error), "errorType": type(error).__name__,
                      "requestId": context.aws_request_id, "stackTrace": []}
            return self.reply(200, json.dumps(raised), {"X-Amz-Function-Error": "Unhandled"})
        self.reply(200, text)

    def reply(self, status, text, headers={}):
        text = text.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format, *args):
        """Logs the request line and the status; the event, with the password, never."""
        print(self.address_string(), format % args, file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description="A Lambda function behind HTTP")
    parser.add_argument("--listen", default="127.0.0.1:8000", help="host:port")
    parser.add_argument("--handler", default="lambda_function.lambda_handler",
                        help="module.function, as in the function's own configuration")
    options = parser.parse_args()
    module, function = options.handler.rsplit(".", 1)
    sys.path.insert(0, ".")
    host, port = options.listen.rsplit(":", 1)
    # Many may log in at once; the default lets five wait.
    ThreadingHTTPServer.request_queue_size = 128
    server = ThreadingHTTPServer((host, int(port)), Invocations)
    server.function = getattr(importlib.import_module(module), function)
    print("listening on http://%s:%d/" % server.server_address[:2], flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
