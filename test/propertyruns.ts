// How many random runs a property gets: as written in `make test`, twenty times as many in `make soak`; SEED= repeats one.
import fc from "fast-check";

const factor = process.env["BERTH_SOAK"] === "1" ? 20 : 1;
const seed = process.env["SEED"];

/** Runs for a property that asks for another number than fast-check's default of 100. */
export const runs = (count: number): number => count * factor;

fc.configureGlobal({ numRuns: runs(100), ...(seed !== undefined && { seed: Number(seed) }) });
