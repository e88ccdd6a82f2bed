import type { Edit } from "./object.ts";

/** Misspelt fields: `message` is the server's under strict validation, which kubectl asks for. */
export const unknownFields: readonly { readonly kind: string; readonly edit: Edit; readonly message: string }[] = [
  { kind: "ModelDeployment", edit: { "spec.replica": 2 }, message: 'unknown field "spec.replica"' },
  { kind: "ModelDeployment", edit: { "spec.model.version": "x" }, message: 'unknown field "spec.model.version"' },
  { kind: "ModelDeployment", edit: { "spec.engine.image": "x" }, message: 'unknown field "spec.engine.image"' },
  {
    // A mirror's address is the administrator's to set.
    kind: "Model",
    edit: { "spec.source": { huggingFace: { repo: "org/name", endpoint: "https://mirror.example.org" } } },
    message: 'unknown field "spec.source.huggingFace.endpoint"',
  },
  { kind: "Model", edit: { "spec.source.s3.secretKey": "x" }, message: 'unknown field "spec.source.s3.secretKey"' },
  { kind: "NodeType", edit: { "spec.gpu.vendor": "x" }, message: 'unknown field "spec.gpu.vendor"' },
];
