"""The official OpenAI client against `fedai serve`: what a program that knows nothing of this network relies on.

usage: openai_client.py BASE_URL [MODEL]
"""

import sys

import openai


def main() -> None:
    base_url = sys.argv[1]
    client = openai.OpenAI(base_url=base_url, api_key="anything", max_retries=0, timeout=120)
    model = sys.argv[2] if len(sys.argv) > 2 else client.models.list().data[0].id
    assert client.models.retrieve(model).id == model
    question = [{"role": "user", "content": "Name three colours."}]

    whole = client.chat.completions.create(model=model, messages=question, max_tokens=24, temperature=0)
    text = whole.choices[0].message.content
    assert text and whole.usage.completion_tokens > 0, whole
    assert whole.choices[0].finish_reason in ("stop", "length"), whole
    raw = client.chat.completions.with_raw_response.create(model=model, messages=question, max_tokens=4)
    assert len(raw.headers["x-fedai-node"]) == 64, raw.headers

    pieces, usage = [], None
    stream = client.chat.completions.create(
        model=model, messages=question, max_tokens=24, temperature=0, stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        usage = chunk.usage or usage
        pieces += [choice.delta.content or "" for choice in chunk.choices]
    assert "".join(pieces).strip(), pieces
    assert usage and usage.completion_tokens > 0, usage

    stopped = client.chat.completions.create(
        model=model, messages=question, max_tokens=24, temperature=0, stop=[text[1:3]]
    )
    assert text[1:3] not in (stopped.choices[0].message.content or ""), stopped
    completion = client.completions.create(model=model, prompt="Once upon a time", max_tokens=8)
    assert completion.choices[0].text, completion
    probable = client.chat.completions.create(
        model=model, messages=question, max_tokens=3, logprobs=True, top_logprobs=2
    )
    print("logprobs:", "yes" if probable.choices[0].logprobs else "not of this runner")

    def refused(kind, call):
        try:
            call()
        except kind as error:
            assert error.code, error
            return
        raise AssertionError(f"{kind.__name__} was expected")

    chat = client.chat.completions.create
    refused(openai.NotFoundError, lambda: chat(model="no-such-model", messages=question))
    refused(openai.BadRequestError, lambda: chat(model=model, messages=[]))
    refused(openai.BadRequestError, lambda: chat(model=model, messages=question, extra_body={"provider": {"zdr": True}}))

    # Closing a stream cancels the job; the next request is served at once.
    stream = client.chat.completions.create(model=model, messages=question, max_tokens=400, stream=True)
    next(iter(stream))
    stream.close()
    assert client.chat.completions.create(model=model, messages=question, max_tokens=4).choices
    print(f"ok: {model} through the official client {openai.__version__}")


if __name__ == "__main__":
    main()
