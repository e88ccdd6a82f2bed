// Loaded into the importer by --import: writes the p99 of its event loop's delay in milliseconds to $LOOP_DELAY_FILE at its end.
import { writeFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";

const resolution = 5;
const delay = monitorEventLoopDelay({ resolution });
// Loading the program is no transfer.
setTimeout(() => delay.enable(), 1_000).unref();
process.once("exit", () => {
  const file = process.env["LOOP_DELAY_FILE"];
  if (file) writeFileSync(file, String(Math.max(0, delay.percentile(99) / 1e6 - resolution)));
});
