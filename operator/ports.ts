/**
 * Interfaces between the layers, and nothing else: what a layer needs from the world, in the words of that layer. A file of ports/
 * for each part of the world. Implementations live in runtime/, adapters/ and transfer/; wire.ts puts them together.
 */
export type * from "./ports/capacity.ts";
export type * from "./ports/kubernetes.ts";
export type * from "./ports/ledger.ts";
export type * from "./ports/objectstore.ts";
export type * from "./ports/process.ts";
export type * from "./ports/source.ts";
