#!/usr/bin/env python3
"""Serves one GGUF model over HTTP with llama.cpp's own server, taken from the prebuilt `xllamacpp` wheel.

The development runner of docker/compose.yml (profile `real`). Same routes as `llama-server`; SIGTERM stops it.
`--check` is the health check of the container: it asks the running server and exits 0 or 1.
"""

import argparse
import os
import signal
import sys
import threading
import urllib.request

MODEL = "/opt/runner/models/SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT_PER_SLOT = 2048


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--alias", default="smollm2-135m")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--check", action="store_true", help="ask the server on --port whether it is healthy")
    return parser.parse_args()


def healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=3) as answer:
            return answer.status == 200
    except OSError:
        return False


def serve(options: argparse.Namespace) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias}
    params.hostnames = [options.host]
    params.port = options.port
    params.n_parallel = options.slots
    params.n_ctx = CONTEXT_PER_SLOT * options.slots
    # Two threads spin against each other as soon as the machine is shared.
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.endpoint_props = True
    params.sse_ping_interval = 1
    # The default reserves 8 GiB of host memory for a prompt cache.
    params.cache_ram_mib = 0

    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    server = xllamacpp.Server(params)
    print(f"serving {options.alias} on {server.listening_address}", file=sys.stderr, flush=True)
    stop.wait()
    # The C++ server has no clean way out while a request runs; there is no state to lose.
    os._exit(0)


if __name__ == "__main__":
    chosen = arguments()
    if chosen.check:
        sys.exit(0 if healthy(chosen.port) else 1)
    serve(chosen)
