"""fedai serve beside other gateways, in front of the same runner that costs nothing, measured by one `fedai bench` run.

usage: python3 client/benches/peers.py [--litellm VENV] [--vllm-router VENV] [--requests N] [--only PART]

Starts on loopback: the runner (`cargo bench --bench network -- --upstream`), relay, router, node and endpoint of the
release build, and of the peers those whose virtual environment is named:

    python3 -m venv VENV && VENV/bin/pip install 'litellm[proxy]==1.99.4'
    python3 -m venv VENV && VENV/bin/pip install vllm-router==0.1.17

Prints Markdown tables. Targets take turns in one run, so compare within a table only. Parts: latency, sustained.
"""

import argparse
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = "bench-model"
# Tail latency that counts as sustained.
P99_MS_MAX = 50.0
AT_ONCE = (1, 2, 4, 8, 16, 32)


class Network:
    """Everything that runs, all of it stopped at the end."""

    def __init__(self, folder):
        self.folder, self.groups, self.targets = folder, {}, {}
        # No settings and no keys of whoever runs this.
        keep = ("PATH", "CARGO_HOME", "CARGO_TARGET_DIR", "RUSTUP_HOME", "LANG")
        self.environment = {name: os.environ[name] for name in keep if name in os.environ}
        self.environment |= {"HOME": str(folder), "RUST_LOG": "warn"}
        for name, place in (("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")):
            self.environment.setdefault(name, str(pathlib.Path.home() / place))

    def start(self, party, words, **more):
        log = open(self.folder / f"{party}-{len(self.groups.get(party, []))}.log", "wb")
        process = subprocess.Popen(
            [str(word) for word in words], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=self.environment | more, start_new_session=True,
        )
        self.groups.setdefault(party, []).append(process)

    def stop(self):
        for process in [process for group in self.groups.values() for process in group]:
            try:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(timeout=20)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, signal.SIGKILL)

    def cpu_seconds(self, party):
        """Processor time of a party's processes and their children."""
        groups = {process.pid for process in self.groups[party]}
        ticks = 0
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            # Process group, user and system time.
            if int(fields[2]) in groups:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(url, seconds, stream=False):
    """Waits until an endpoint answers a request."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 16, "stream": stream}
    request = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + seconds
    while True:
        try:
            with opener.open(request, timeout=30) as answer:
                answer.read()
                return
        except OSError as error:
            if time.monotonic() > until:
                raise SystemExit(f"{url} did not answer in {seconds} s: {error}") from error
            time.sleep(0.3)


def start_all(network, fedai, arguments):
    upstream, relay, endpoint = arguments.upstream or f"127.0.0.1:{free_port()}", free_port(), free_port()
    base = f"http://{upstream}"
    if not arguments.upstream:
        words = ["cargo", "bench", "-q", "--workspace", "--bench", "network", "--", "--upstream", upstream]
        network.start("runner", words)
    answers(f"{base}/v1", 1_800)
    network.targets["direct"] = f"{base}/v1"
    relay_url = f"ws://127.0.0.1:{relay}"
    network.start("fedai", [fedai, "relay-bridge", "serve", "--listen", f"127.0.0.1:{relay}"])
    data = network.folder
    common = ["--relay", relay_url, "--data"]
    network.start("fedai", [fedai, "router-agent", "run", *common, data / "router"])
    runner = ["--runner", base, "--runner-kind", "openai", "--slots", "64"]
    network.start("fedai", [fedai, "node-agent", "run", *common, data / "node", *runner, *arguments.node_flag])
    listen = ["--listen", f"127.0.0.1:{endpoint}", "--concurrency", "256"]
    network.start("fedai", [fedai, "serve", *common, data / "client", *listen])
    network.targets["fedai"] = f"http://127.0.0.1:{endpoint}/v1"
    if arguments.vllm_router:
        port, metrics = free_port(), free_port()
        network.start("vllm-router", [
            arguments.vllm_router / "bin/vllm-router", "--host", "127.0.0.1", "--port", port, "--worker-urls", base,
            "--policy", "round_robin", "--prometheus-port", metrics, "--prometheus-host", "127.0.0.1",
            "--log-level", "error",
        ])
        network.targets["vllm-router"] = f"http://127.0.0.1:{port}/v1"
    if arguments.litellm:
        port, config = free_port(), network.folder / "litellm.yaml"
        settings = {"model": f"openai/{MODEL}", "api_base": f"{base}/v1", "api_key": "none"}
        config.write_text(json.dumps({
            "model_list": [{"model_name": MODEL, "litellm_params": settings}],
            "litellm_settings": {"telemetry": False, "drop_params": False, "num_retries": 0},
        }))
        network.start(
            "litellm",
            [arguments.litellm / "bin/litellm", "--config", config, "--host", "127.0.0.1", "--port", port,
             "--num_workers", "1", "--telemetry", "False"],
            LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_MODE="PRODUCTION", LITELLM_LOG="ERROR",
        )
        network.targets["litellm"] = f"http://127.0.0.1:{port}/v1"
    for url in network.targets.values():
        answers(url, 300)


def bench(network, fedai, names, requests, at_once, stream):
    """One run over some targets; their figures by name, with the processor time that each took."""
    urls = [network.targets[name] for name in names]
    words = [fedai, "bench", "-q", "--model", MODEL, "--requests", requests, "--concurrency", at_once, "--url", urls[0]]
    words += [word for url in urls[1:] for word in ("--compare", url)] + (["--stream"] if stream else [])
    parties = [name for name in names if name in network.groups]
    before = {name: network.cpu_seconds(name) for name in parties}
    output = subprocess.run(
        [str(word) for word in [*words, "--warmup", 20, "--json", "-"]], env=network.environment, check=True,
        stdout=subprocess.PIPE,
    )
    result = json.loads(output.stdout)["targets"]
    figures = {name: result[url] for name, url in zip(names, urls)}
    for name in parties:
        figures[name]["cpu_ms"] = (network.cpu_seconds(name) - before[name]) * 1e3 / (requests + 20)
    return figures


def cell(values):
    return " / ".join(f"{value:.2f}" for value in values)


def latency(network, fedai, requests):
    names = list(network.targets)
    for at_once in (1, 16):
        for stream in (False, True):
            figures = bench(network, fedai, names, requests, at_once, stream)
            print(f"\n{'Streamed' if stream else 'Whole'} answers, {at_once} at once, {requests} requests to each.\n")
            print("| | answers, errors | first token p50 / p95 / p99 | total | added: first token | added: total "
                  "| a second | CPU ms a request |\n|---|---|---|---|---|---|---|---|")
            for name in names:
                quantiles = {
                    what: [figures[name][what][p] for p in ("p50", "p95", "p99")] for what in ("ttft_ms", "total_ms")
                }
                added = {
                    what: [value - figures["direct"][what][p] for value, p in zip(values, ("p50", "p95", "p99"))]
                    for what, values in quantiles.items()
                }
                columns = [
                    name, f"{figures[name]['answers']}, {figures[name]['errors']}", cell(quantiles["ttft_ms"]),
                    cell(quantiles["total_ms"]), cell(added["ttft_ms"]), cell(added["total_ms"]),
                    f"{figures[name]['requests_per_second']:.0f}", f"{figures[name].get('cpu_ms', float('nan')):.2f}",
                ]
                print("| " + " | ".join(columns).replace("nan", "-") + " |", flush=True)


def sustained(network, fedai, requests):
    print(f"\nMost answers a second with 99 % of them within {P99_MS_MAX:.0f} ms, whole and streamed, of "
          f"{', '.join(map(str, AT_ONCE))} at once.\n")
    print("| | answers | at once | a second | p99 ms | CPU ms a request | a second and core |")
    print("|---|---|---|---|---|---|---|")
    for name in [name for name in network.targets if name != "direct"]:
        for stream in (False, True):
            best = None
            for at_once in AT_ONCE:
                count = max(requests, 20 * at_once)
                figure = bench(network, fedai, [name], count, at_once, stream)[name]
                within = figure["total_ms"]["p99"] is not None and figure["total_ms"]["p99"] < P99_MS_MAX
                within = within and figure["errors"] == 0
                if within and (best is None or figure["requests_per_second"] > best[1]["requests_per_second"]):
                    best = (at_once, figure)
            kind = "streamed" if stream else "whole"
            if best is None:
                print(f"| {name} | {kind} | none of them | - | - | - | - |", flush=True)
                continue
            at_once, figure = best
            columns = [
                name, kind, str(at_once), f"{figure['requests_per_second']:.0f}", f"{figure['total_ms']['p99']:.1f}",
                f"{figure['cpu_ms']:.2f}", f"{1e3 / figure['cpu_ms']:.0f}" if figure["cpu_ms"] else "-",
            ]
            print("| " + " | ".join(columns) + " |", flush=True)


def built():
    subprocess.run(["cargo", "build", "-q", "--release", "--workspace", "--bins"], cwd=ROOT, check=True)
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    return pathlib.Path(json.loads(metadata.stdout)["target_directory"]) / "release/fedai"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litellm", type=pathlib.Path, metavar="VENV")
    parser.add_argument("--vllm-router", type=pathlib.Path, metavar="VENV")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--only", choices=("latency", "sustained"))
    parser.add_argument("--node-flag", action="append", default=[], help="a further flag of node-agent run; repeat")
    parser.add_argument("--fedai", type=pathlib.Path, help="a binary to use instead of building one")
    parser.add_argument("--upstream", metavar="HOST:PORT", help=f"a server of {MODEL} that runs already")
    arguments = parser.parse_args()
    fedai = (arguments.fedai or built()).resolve()
    with tempfile.TemporaryDirectory() as folder:
        network = Network(pathlib.Path(folder))
        try:
            start_all(network, fedai, arguments)
            print(f"Load average before: {os.getloadavg()}", flush=True)
            if arguments.only != "sustained":
                latency(network, fedai, arguments.requests)
            if arguments.only != "latency":
                sustained(network, fedai, arguments.requests)
            print(f"\nLoad average after: {os.getloadavg()}")
        finally:
            network.stop()


if __name__ == "__main__":
    main()
