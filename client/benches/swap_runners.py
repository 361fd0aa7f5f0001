"""Two different real runners behind two nodes, one and then the other taken away under load: does a client notice?

usage: python3 client/benches/swap_runners.py --fedai BINARY --runner URL --other URL [--clients N] [--seconds N]
       [--node-flag=WORD]…

Both runners must be OpenAI-compatible servers on loopback that name their model alike, for example llama.cpp's server
and tinygrad's, each started with the alias `smollm2-135m`. Clients ask the endpoint again and again; the first node is
told to stop (SIGTERM), started again, then the other one is told to stop and killed half way. Prints, for each phase, how
many answers came from which node, how many attempts they took, and every error with its code; exits with 1 when there was
an error, when an answer was not verified, or when the two phases with one node were not served by different ones.

Prices are 0 on both, as this version verifies no payment.
"""

import argparse
import collections
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def fetch(url, body=None, seconds=300):
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=seconds) as answer:
        return json.load(answer)


class World:
    def __init__(self, folder, fedai, node_flags):
        self.folder, self.fedai, self.node_flags, self.parts = folder, fedai, node_flags, {}

    def start(self, name, *words):
        log = open(self.folder / f"{name}.log", "ab")
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "RUST_LOG": "warn"}
        words = [str(word) for word in (self.fedai, *words)]
        self.parts[name] = subprocess.Popen(
            words, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )

    def stop(self, name):
        self.parts[name].send_signal(signal.SIGTERM)
        self.parts[name].wait(timeout=120)

    def node(self, name, relay, runner):
        data = self.folder / name
        words = ["--relay", relay, "--data", data, "--name", name, "--runner", runner, *self.node_flags]
        self.start(name, "node-agent", "run", *words)


class Load:
    """Clients that ask one question after the other and keep what came."""

    def __init__(self, url, model, clients):
        self.url, self.model, self.answers, self.is_over, self.phase = url, model, [], False, "both run"
        self.threads = [threading.Thread(target=self.ask, args=(number,)) for number in range(clients)]
        for thread in self.threads:
            thread.start()

    def ask(self, number):
        count = 0
        while not self.is_over:
            count += 1
            question = f"Client {number}, question {count}: name a colour."
            body = {"model": self.model, "messages": [{"role": "user", "content": question}], "max_tokens": 8}
            phase = self.phase
            try:
                answer = fetch(f"{self.url}/chat/completions", body)
                text, paid = answer["choices"][0]["message"]["content"], answer["fedai"]
                fault = "" if text and paid["verified"] else "empty or not verified"
                self.answers.append((phase, paid["node"], paid["attempts"], fault))
            except urllib.error.HTTPError as error:
                self.answers.append((phase, "", 0, json.load(error)["error"]["code"]))
            except OSError as error:
                self.answers.append((phase, "", 0, str(error)))

    def stop(self):
        self.is_over = True
        for thread in self.threads:
            thread.join()


def wait_for(what, seconds=300):
    until = time.monotonic() + seconds
    while True:
        try:
            return what()
        except (OSError, LookupError, StopIteration) as error:
            if time.monotonic() > until:
                raise SystemExit(f"not in time: {error}") from error
            time.sleep(0.5)


def run(world, arguments):
    relay, listen = f"ws://127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    world.start("relay", "relay-bridge", "serve", "--listen", relay.removeprefix("ws://"))
    world.start("router", "router-agent", "run", "--relay", relay, "--data", world.folder / "router")
    world.node("first", relay, arguments.runner)
    world.node("other", relay, arguments.other)
    client = ["--relay", relay, "--data", world.folder / "client", "--timeout", "4m"]
    world.start("serve", "serve", "--listen", listen, *client)
    url = f"http://{listen}/v1"

    def offered():
        models = fetch(f"{url}/models")["data"]
        return next(model["id"] for model in models if model["nodes"] == 2)

    model = wait_for(offered)
    load = Load(url, model, arguments.clients)
    time.sleep(arguments.seconds)
    load.phase = "first stopped"
    world.stop("first")
    time.sleep(arguments.seconds)
    world.node("first", relay, arguments.runner)
    load.phase = "first back"
    time.sleep(arguments.seconds)
    load.phase = "other killed"
    world.parts["other"].kill()
    time.sleep(arguments.seconds)
    load.stop()
    return load.answers


def report(answers):
    seen = collections.Counter((phase, node[:8], attempts) for phase, node, attempts, fault in answers if not fault)
    print("| asked while | node | attempts | answers |\n|---|---|---|---|")
    for (phase, node, attempts), count in seen.items():
        print(f"| {phase} | {node}… | {attempts} | {count} |")
    faults = collections.Counter((phase, fault) for phase, _, _, fault in answers if fault)
    print(f"\nerrors: {dict(faults) or 'none'}")

    def served_most(wanted):
        nodes = collections.Counter(node for phase, node, _, fault in answers if phase == wanted and not fault)
        return nodes.most_common(1)[0][0] if nodes else None

    # What was asked just before a change may still be served by who goes, so the most count.
    left = [served_most("first stopped"), served_most("other killed")]
    return not faults and None not in left and left[0] != left[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fedai", type=pathlib.Path, required=True)
    parser.add_argument("--runner", required=True, help="the runner of the first node")
    parser.add_argument("--other", required=True, help="the runner of the other node")
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=60, help="length of each phase")
    parser.add_argument("--node-flag", action="append", default=[], help="a further flag of node-agent run; repeat")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = World(pathlib.Path(folder), arguments.fedai.resolve(), arguments.node_flag)
        try:
            answers = run(world, arguments)
        finally:
            for part in world.parts.values():
                part.terminate()
            for part in world.parts.values():
                part.wait()
    raise SystemExit(0 if report(answers) else 1)


if __name__ == "__main__":
    main()
