"""Stand in for vLLM: takes its arguments, and behaves as `--fake` says.

`serve` answers as vLLM does; `die` ends with an error; `silent` never listens and never logs; `hang` serves its list of
models and one completion, then never answers again; `children` serves, with a child of its own that ignores SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fake", default="serve")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--lora-modules", default="")
    parser.add_argument("--pids", type=Path)
    given, _ = parser.parse_known_args()
    print("Starting to load model", flush=True)
    if given.fake == "die":
        print("RuntimeError: no room for the weights", flush=True)
        sys.exit(3)
    if given.fake == "silent":
        time.sleep(600)
    if given.fake == "children":
        child = subprocess.Popen([sys.executable, "-c", STUBBORN])
        given.pids.write_text(str(child.pid), encoding="utf-8")
    names = [given.served_model_name, *given.lora_modules.split("=")[:1]]
    completions: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer({"data": [{"id": name} for name in names if name]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            completions.append(asked["model"])
            if given.fake == "hang" and len(completions) > 1:
                time.sleep(600)
            self.answer({"choices": [{"text": "a"}], "model": asked["model"]})

        def answer(self, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    ThreadingHTTPServer(("127.0.0.1", given.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
