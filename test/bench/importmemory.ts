// Memory at 4 GiB and (LARGE=1) at 16 GiB: the files are holes, which costs the server nothing and the importer the same.
import { print } from "./figures.ts";
import { putModel } from "./importmodel.ts";
import { berthLine, medians } from "./importrig.ts";
import type { Bench } from "./imports.ts";

export async function memoryLines(bench: Bench): Promise<void> {
  for (const gibibytes of process.env["LARGE"] === "1" ? [4, 16] : [4]) {
    const shape = { name: `memory-${String(gibibytes)}`, shards: 4, isSparse: true };
    const model = await putModel(bench.s3, { ...shape, shardBytes: gibibytes * 2 ** 28 });
    const line = (into: string): string => berthLine(model.place, `file://${into}`);
    const [ours] = await medians(bench, [{ what: `berth import of ${String(gibibytes)} GiB`, line }], 1);
    print({
      name: `import.memory.${String(gibibytes)}GiB`,
      value: ours?.peakMegabytes ?? 0,
      unit: "MB",
      limit: 256 * 1.048576 + 120,
      against: "buffers and 120 MB",
    });
  }
}
