"""Runs one invocation as Lambda's runtime does: the event comes in, a result or an error goes out."""

import importlib
import json
import sys
import types

module, function = sys.argv[1].rsplit(".", 1)
sys.path.insert(0, ".")
event = json.load(sys.stdin)
context = types.SimpleNamespace(
    function_name=module, aws_request_id="1", get_remaining_time_in_millis=lambda: 10_000
)
try:
    print(json.dumps({"payload": getattr(importlib.import_module(module), function)(event, context)}))
except Exception as error:
    print(json.dumps({"error": {
        "errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": []
    }}))
