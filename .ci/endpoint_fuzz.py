"""What `schemathesis` may not know from OpenAI's description: which models there are here.

Loaded by the gate with SCHEMATHESIS_HOOKS. Without it nearly every request would end at "no node offers this model".
"""

import sys

import schemathesis

# Hypothesis describes nested strategies by parsing their source; Python 3.11 ends that with a SystemError when it is
# near its limit of depth.
sys.setrecursionlimit(20_000)

MODELS = ("any", "mock-words", "Mock-Words", "no-such-model")


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        # By what was generated, so that the same example is the same request again.
        return {**body, "model": MODELS[len(body["model"]) % len(MODELS)]}
    return body


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    if path_parameters and isinstance(path_parameters.get("model"), str) and len(path_parameters["model"]) % 2:
        return {**path_parameters, "model": "mock-words"}
    return path_parameters
