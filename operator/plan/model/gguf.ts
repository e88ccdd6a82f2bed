/**
 * GGUF files, which a platform may let along beside safetensors (docs/decisions/0022). Their first bytes are read, so that nothing
 * else travels under the name; what they hold is not: it needs no node to be chosen by.
 */
import { printable, refusal } from "./problem.ts";
import type { ModelProblem } from "./problem.ts";

/** Magic, version, tensor count and count of metadata. */
export const GGUF_HEAD_BYTES = 24;
const MOST_TENSORS = 200_000n;
const MOST_PAIRS = 100_000n;

/** What is wrong with a file by its first bytes. Little-endian; versions 2 and 3 are what is written today. */
export function ggufFault(path: string, head: Uint8Array): ModelProblem | undefined {
  const said = (what: string): ModelProblem =>
    refusal("UnsafeFormat", `${printable(path)} ${what}: remove it or upload the real file`);
  if (head.length < GGUF_HEAD_BYTES) return said("is too short to be GGUF");
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (view.getUint32(0, false) !== 0x47475546) return said("is no GGUF file, it does not begin with that word");
  const version = view.getUint32(4, true);
  if (version !== 2 && version !== 3) return said(`is of version ${String(version)} of GGUF, which is not known`);
  if (view.getBigUint64(8, true) > MOST_TENSORS || view.getBigUint64(16, true) > MOST_PAIRS)
    return said("claims more tensors or metadata than any real file has");
  return undefined;
}
