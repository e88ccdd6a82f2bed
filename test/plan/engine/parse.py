"""Reads command lines of `vllm serve` (JSON: lists of words) from stdin and prints what vLLM's own parser makes of each.

Run by a Python 3.11 that finds vLLM on PYTHONPATH. Answer: {"flags": [option strings], "results": [{"error"} | {"values"}]}.
`values` are the parsed options that differ from their defaults. Nothing is loaded: this stops before any engine starts.
"""

import contextlib
import io
import json
import sys

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))


def plain(value):
    return value if isinstance(value, (str, int, float, bool, list, dict, type(None))) else str(value)


def parsed(words):
    words_of_parser = io.StringIO()
    try:
        with contextlib.redirect_stderr(words_of_parser):
            args = parser.parse_args(words)
        validate_parsed_serve_args(args)
        AsyncEngineArgs.from_cli_args(args)
    except SystemExit:
        return {"error": words_of_parser.getvalue().strip().splitlines()[-1]}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    chosen = {k: v for k, v in vars(args).items() if v != parser.get_default(k)}
    return {"values": {k: plain(v) for k, v in sorted(chosen.items())}}


flags = sorted(option for action in parser._actions for option in action.option_strings)
json.dump({"flags": flags, "results": [parsed(words) for words in json.load(sys.stdin)]}, sys.stdout)
