"""What vLLM's own block manager makes of models' configurations: the reference for plan/sizing's KV cache arithmetic.

Reads from stdin a list of {"name", "model": folder with config.json, "maxModelLen": tokens, "cacheBytes": bytes of one GPU,
"extra": {EngineArgs by name}}. No engine starts and no weight is allocated: the real model class builds its layers on torch's
meta device, the real layers say what they keep (get_kv_cache_spec), and the engine's own functions cut the given bytes into blocks
(v1/core/kv_cache_utils.py). So a whole model of any size can be asked. Prints one JSON line for each question: tokens and
concurrency as the start-up log says them, blocks, blocks of one request, and each group of layers with its kind, block size and
bytes of a page (one block of one layer); or what vLLM refuses.
"""

import json
import os
import sys
import tempfile

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"

import torch  # noqa: E402  (after the environment)
from vllm.config import set_current_vllm_config  # noqa: E402
from vllm.distributed import (  # noqa: E402
    destroy_model_parallel,
    ensure_model_parallel_initialized,
    init_distributed_environment,
)
from vllm.engine.arg_utils import EngineArgs  # noqa: E402
from vllm.model_executor.model_loader.utils import initialize_model  # noqa: E402
from vllm.platforms import current_platform  # noqa: E402
from vllm.utils.torch_utils import set_default_torch_dtype  # noqa: E402
from vllm.v1.attention.backends.utils import resolve_kv_cache_layout  # noqa: E402
from vllm.v1.core import kv_cache_utils  # noqa: E402
from vllm.v1.worker.gpu_model_runner import GPUModelRunner  # noqa: E402
from vllm.v1.worker.worker_base import WorkerBase  # noqa: E402


class Asker:
    """As much of a model runner as GPUModelRunner.get_kv_cache_spec reads."""

    def __init__(self, vllm_config):
        self.vllm_config = vllm_config
        self.shared_kv_cache_layers = {}


def answer(question):
    arguments = EngineArgs(
        model=question["model"],
        load_format="dummy",
        skip_tokenizer_init=True,
        enforce_eager=True,
        max_model_len=question["maxModelLen"],
        **question.get("extra", {}),
    )
    config = arguments.create_engine_config()
    with set_current_vllm_config(config):
        destroy_model_parallel()  # groups of the model before: experts need one more
        ensure_model_parallel_initialized(1, 1)
        with set_default_torch_dtype(config.model_config.dtype), torch.device("meta"):
            initialize_model(vllm_config=config)
        current_platform.update_block_size_for_backend(config)
        asker = Asker(config)
        specs = GPUModelRunner.get_kv_cache_spec(asker)
        if not specs:
            return {"tokens": 0, "concurrency": 0, "blocks": 0, "requestBlocks": 0, "groups": []}
        layouts = WorkerBase.get_supported_kv_cache_layouts(asker)
        resolve_kv_cache_layout(config, [layouts], specs.values())
        plan = kv_cache_utils.get_kv_cache_configs(config, [specs], [question["cacheBytes"]])[0]
        concurrency = kv_cache_utils.get_max_concurrency_for_kv_cache_config(config, plan)
    return {
        "tokens": int(concurrency * config.model_config.max_model_len),
        "concurrency": concurrency,
        "blocks": plan.num_blocks,
        "requestBlocks": round(plan.num_blocks / concurrency),
        "groups": [
            {
                "kind": type(group.kv_cache_spec).__name__,
                "layers": len(group.layer_names),
                "blockTokens": group.kv_cache_spec.block_size,
                "pageBytes": group.kv_cache_spec.page_size_bytes,
            }
            for group in plan.kv_cache_groups
        ],
    }


def main():
    with tempfile.NamedTemporaryFile() as meeting:
        init_distributed_environment(1, 0, f"file://{meeting.name}", 0, "gloo")
        for question in json.load(sys.stdin):
            try:
                said = answer(question)
            except Exception as error:  # what vLLM refuses is the answer
                said = {"refused": f"{type(error).__name__}: {error}".split("\n")[0][:300]}
            print(json.dumps({"name": question["name"], **said}), flush=True)
        os._exit(0)  # threads of the libraries have nothing to finish


if __name__ == "__main__":
    main()
