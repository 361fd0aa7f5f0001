"""The official OpenAI client against `fedai serve`: what a program that knows nothing of this network relies on.

usage: openai_client.py BASE_URL [MODEL]
"""

import json
import sys
import time

import openai

QUESTION = [{"role": "user", "content": "Name three colours."}]


def main() -> None:
    base_url = sys.argv[1]
    client = openai.OpenAI(base_url=base_url, api_key="anything", max_retries=0, timeout=120)
    model = sys.argv[2] if len(sys.argv) > 2 else client.models.list().data[0].id
    described = client.models.retrieve(model)
    assert described.id == model
    assert described.context_length > 0 and described.pricing["unit"] == "msat", described
    seen = [
        *chat(client, model), *streams(client, model), *tools(client, model), *log_probabilities(client, model),
        *embeddings(client, model, described.modalities),
    ]
    errors(client, model)
    timeouts(client, model)
    cancellation(client, model)
    print(f"ok: {model} through the official client {openai.__version__}: {', '.join(seen)}")


def chat(client, model):
    whole = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=24, temperature=0)
    text = whole.choices[0].message.content
    assert text and whole.usage.completion_tokens > 0, whole
    assert whole.choices[0].finish_reason in ("stop", "length"), whole
    assert whole.usage.cost_msat >= 0 and whole.fedai["verified"], whole
    raw = client.chat.completions.with_raw_response.create(model=model, messages=QUESTION, max_tokens=4)
    assert len(raw.headers["x-fedai-node"]) == 64, raw.headers
    part = text[1:3]
    stopped = client.chat.completions.create(
        model=model, messages=QUESTION, max_tokens=24, temperature=0, stop=[part]
    )
    assert part not in (stopped.choices[0].message.content or ""), stopped
    completion = client.completions.create(model=model, prompt="Once upon a time", max_tokens=8)
    assert completion.choices[0].text, completion
    form = {"type": "json_schema", "json_schema": {"name": "colour", "schema": {
        "type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"],
        "additionalProperties": False,
    }}}
    structured = client.chat.completions.create(
        model=model, messages=QUESTION, max_tokens=40, temperature=0, response_format=form
    )
    assert json.loads(structured.choices[0].message.content)["colour"] in ("red", "blue"), structured
    return ["chat", "stop", "completions", "JSON by schema"]


def streams(client, model):
    options = {"include_usage": True}
    pieces, usage, finished = [], None, None
    with client.chat.completions.create(
        model=model, messages=QUESTION, max_tokens=24, temperature=0, stream=True, stream_options=options
    ) as stream:
        for chunk in stream:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                pieces.append(choice.delta.content or "")
                finished = choice.finish_reason or finished
    assert "".join(pieces).strip() and finished in ("stop", "length"), pieces
    assert usage and usage.completion_tokens > 0, usage
    assert len(pieces) > 4, "the answer came in one piece"
    texts = client.completions.create(model=model, prompt="Once upon a time", max_tokens=8, stream=True)
    assert "".join(chunk.choices[0].text for chunk in texts if chunk.choices)
    return ["streams"]


def tools(client, model):
    function = {"name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
    }}
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "What is the weather in Paris?"}], max_tokens=60,
        temperature=0, tools=[{"type": "function", "function": function}], tool_choice="required",
    )
    calls = answer.choices[0].message.tool_calls
    if not calls:
        return ["tools passed through, not used by this model"]
    assert calls[0].function.name == "get_weather" and calls[0].id, calls
    return ["tools"]


def log_probabilities(client, model):
    probable = client.chat.completions.create(
        model=model, messages=QUESTION, max_tokens=3, temperature=0, logprobs=True, top_logprobs=2
    )
    logprobs = probable.choices[0].logprobs
    if not logprobs or not logprobs.content:
        return ["no logprobs of this runner"]
    assert len(logprobs.content) == 3, logprobs
    for token in logprobs.content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 2, token
    assert "".join(token.token for token in logprobs.content) == probable.choices[0].message.content, probable
    return ["logprobs"]


def embeddings(client, model, modalities):
    if "embedding" not in modalities:
        refused(openai.NotFoundError, lambda: client.embeddings.create(model=model, input="red"))
        return ["no embeddings of this runner"]
    # The client asks for base64 by itself and decodes it.
    texts = ["a red apple", "a green apple", "the stock market fell"]
    answer = client.embeddings.create(model=model, input=texts)
    vectors = [entry.embedding for entry in answer.data]
    assert [entry.index for entry in answer.data] == [0, 1, 2] and len(vectors[0]) > 100, answer.usage
    plain = client.embeddings.create(model=model, input=texts[0], encoding_format="float").data[0].embedding
    assert max(abs(one - other) for one, other in zip(plain, vectors[0])) < 1e-3, "both forms are the same numbers"

    def alike(one, other):
        length = sum(x * x for x in one) ** 0.5 * sum(x * x for x in other) ** 0.5
        return sum(x * y for x, y in zip(one, other)) / length

    assert alike(vectors[0], vectors[1]) > alike(vectors[0], vectors[2]), "apples are alike"
    assert answer.usage.prompt_tokens > 0, answer.usage
    return ["embeddings"]


def refused(kind, call):
    try:
        call()
    except kind as error:
        assert error.code, error
        return error
    raise AssertionError(f"{kind.__name__} was expected")


def errors(client, model):
    create = client.chat.completions.create
    refused(openai.NotFoundError, lambda: create(model="no-such-model", messages=QUESTION))
    refused(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"))
    error = refused(openai.BadRequestError, lambda: create(model=model, messages=[]))
    assert error.param == "messages", error.body
    no_promise = {"provider": {"zdr": True}}
    refused(openai.BadRequestError, lambda: create(model=model, messages=QUESTION, extra_body=no_promise))
    refused(openai.BadRequestError, lambda: create(model=model, messages=QUESTION, max_tokens=0))
    long = [{"role": "user", "content": "word " * 200_000}]
    refused(openai.BadRequestError, lambda: create(model=model, messages=long, max_tokens=4))


def timeouts(client, model):
    """The client gives up by itself; what it began must not stand in anybody's way."""
    try:
        client.with_options(timeout=0.2).chat.completions.create(model=model, messages=QUESTION, max_tokens=900)
    except openai.APITimeoutError:
        pass
    else:
        raise AssertionError("900 tokens in 0.2 s")
    is_free(client, model)


def cancellation(client, model):
    """Closing a stream cancels the job; both slots of the runner are free again at once."""
    for _ in range(3):
        stream = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=900, stream=True)
        next(iter(stream))
        stream.close()
    is_free(client, model)


def is_free(client, model):
    begun = time.monotonic()
    assert client.chat.completions.create(model=model, messages=QUESTION, max_tokens=4).choices
    # Three abandoned answers of 900 tokens would take a minute and more.
    assert time.monotonic() - begun < 20, "what was abandoned is still worked on"


if __name__ == "__main__":
    main()
