"""Runs llama.cpp's HTTP server from a wheel: on loopback unless told, until SIGTERM or its parent's end."""

import argparse
import os
import signal
import sys
import threading


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--slot-context", type=int, default=2048)
    parser.add_argument("--alias", required=True)
    return parser.parse_args()


def parameters(asked):
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = asked.model
    params.model_alias = {asked.alias}
    params.hostnames = [asked.host]
    params.port = asked.port
    params.n_parallel = asked.slots
    params.n_ctx = asked.slots * asked.slot_context
    # Its threads spin at barriers: a second one on a shared machine makes it several times slower.
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.endpoint_props = True
    # A stream that is being shut down is noticed at the next ping; the default is half a minute.
    params.sse_ping_interval = 1
    # It answers chats as before, and embeds as well: a vector is the mean of its tokens' vectors.
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    # The default host prompt cache is 8 GiB.
    params.cache_ram_mib = 0
    return params


def main():
    parent = os.getppid()
    asked = arguments()
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    import xllamacpp

    server = xllamacpp.Server(parameters(asked))
    print(f"listening at {server.listening_address}", file=sys.stderr, flush=True)
    while not over.wait(0.5):
        if os.getppid() != parent:
            break
    # The server's own threads may still be generating; nothing is left to save.
    os._exit(0)


if __name__ == "__main__":
    main()
