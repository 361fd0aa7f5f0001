#!/usr/bin/env python3
"""Lists the nodes and offers that a relay holds, read and verified with a Nostr library that is not rust-nostr.

    python3 .ci/inspect_network.py ws://127.0.0.1:7447 [--model NAME] [--price-step STEP]

Asks as any Nostr client would, by kind and by tag, recomputes every id, verifies every signature and prints a table.
Without --model and --price-step the first offer found says what to ask for. Runs in a virtual environment of its own
(made below ${FEDAI_CI_CACHE:-~/.cache/fedai-ci}), so that nothing is installed beside it.

Exit codes: 0 all good; 1 nothing found; 2 an event with a wrong id or signature; 3 the relay did not answer.
"""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import venv

NODE_DESCRIPTOR = 31434
MODEL_OFFER = 31435
ANSWER_SECONDS = 15
EVENTS_MAX = 5_000

EXIT_NOTHING, EXIT_FORGED, EXIT_NO_RELAY = 1, 2, 3


def in_own_environment() -> None:
    """Starts this script again inside its own virtual environment, which it makes on first use."""
    requirements = pathlib.Path(__file__).with_name("requirements.txt")
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    cache = pathlib.Path(os.environ.get("FEDAI_CI_CACHE") or pathlib.Path.home() / ".cache" / "fedai-ci")
    folder = cache / f"inspector-{digest}"
    python = folder / "bin" / "python"
    if pathlib.Path(sys.prefix) == folder:
        return
    if not (folder / "complete").exists():
        print(f"inspector: installing {requirements.name} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", requirements], check=True)
        (folder / "complete").touch()
    os.execv(python, [str(python), *sys.argv])


def ask(url: str, query: dict) -> list[dict]:
    """The stored events that match, once the relay said that there are no more."""
    import asyncio

    from tornado.websocket import websocket_connect

    async def run() -> list[dict]:
        connection = await websocket_connect(url, connect_timeout=ANSWER_SECONDS)
        events = []
        await connection.write_message(json.dumps(["REQ", "inspect", query]))
        while (message := await connection.read_message()) is not None:
            label, subscription, *rest = json.loads(message)
            if label == "EVENT" and subscription == "inspect" and len(events) < EVENTS_MAX:
                events.append(rest[0])
            elif label == "EOSE":
                connection.close()
                return events
            elif label in ("CLOSED", "AUTH"):
                raise ConnectionError(f"the relay refuses: {message!r}")
        raise ConnectionError("the relay closed the connection")

    return asyncio.run(asyncio.wait_for(run(), ANSWER_SECONDS))


def fault(event: dict) -> str | None:
    """What is wrong with an event's id or signature; none when both hold."""
    from pynostr.event import Event

    try:
        parsed = Event.from_dict(event)
        if parsed.id != event["id"]:
            return "the id is not the hash of the event"
        return None if parsed.verify() else "the signature does not hold"
    except (KeyError, TypeError, ValueError) as error:
        return f"not an event: {error!r}"


def tags(event: dict, name: str) -> list[list[str]]:
    return [tag[1:] for tag in event["tags"] if len(tag) > 1 and tag[0] == name]


def first(event: dict, name: str) -> str:
    return next((values[0] for values in tags(event, name)), "-")


def table(title: str, head: list[str], rows: list[list[str]]) -> None:
    print(f"\n{title}")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def shown(text: str) -> str:
    """Foreign text on a terminal: no control characters, no endless lines."""
    return "".join(character if character.isprintable() else "?" for character in text)[:60]


def price(offer: dict) -> str:
    parts = [" ".join(values) for values in tags(offer, "price")]
    return shown("; ".join(parts)) if parts else "free"


def inspect(url: str, model: str | None, step: str | None) -> int:
    nodes = ask(url, {"kinds": [NODE_DESCRIPTOR]})
    offers = ask(url, {"kinds": [MODEL_OFFER]})
    model = model or next((first(offer, "m") for offer in offers), None)
    step = step or next((first(offer, "b") for offer in offers if first(offer, "m") == model), None)
    wanted = {"kinds": [MODEL_OFFER], "#m": [model or ""]}
    if step not in (None, "-"):
        wanted["#b"] = [step]
    matching = ask(url, wanted)

    faults = {event.get("id", "?"): reason for event in nodes + offers + matching if (reason := fault(event))}
    for identity, reason in faults.items():
        print(f"error: {shown(str(identity))}: {reason}", file=sys.stderr)
    if faults:
        return EXIT_FORGED

    table(
        f"nodes ({len(nodes)}), asked by kind {NODE_DESCRIPTOR}",
        ["node", "name", "created", "signature"],
        [[node["pubkey"][:16], shown(first(node, "d")), str(node["created_at"]), "valid"] for node in nodes],
    )
    table(
        f"offers ({len(matching)} of {len(offers)}), asked by {json.dumps(wanted)}",
        ["node", "model", "price", "signature"],
        [[offer["pubkey"][:16], shown(first(offer, "m")), price(offer), "valid"] for offer in matching],
    )
    authors = {node["pubkey"] for node in nodes}
    wrong = [offer for offer in matching if model not in [values[0] for values in tags(offer, "m")]]
    if not nodes or not matching or wrong or not authors & {offer["pubkey"] for offer in matching}:
        print("error: no node with a matching offer on this relay", file=sys.stderr)
        print("hint: is a node running, and announced to this relay? try: fedai nodes --relay URL", file=sys.stderr)
        return EXIT_NOTHING
    print(f"\n{len(nodes)} nodes and {len(matching)} offers, every id and signature valid")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("relay", help="ws:// or wss:// address of a relay")
    parser.add_argument("--model", help="model to ask for (tag m)")
    parser.add_argument("--price-step", help="step of the price ladder to ask for (tag b), such as 'out<=50000'")
    options = parser.parse_args()
    in_own_environment()
    try:
        return inspect(options.relay, options.model, options.price_step)
    except (OSError, TimeoutError, ValueError) as error:
        print(f"error: {options.relay}: {error!r}", file=sys.stderr)
        print("hint: is the relay running at that address?", file=sys.stderr)
        return EXIT_NO_RELAY


if __name__ == "__main__":
    sys.exit(main())
