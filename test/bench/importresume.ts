// kill -9 at 90 %: bytes that the next importer reads again from the source, counted between it and the server, beside those that had come
// by the kill and were not yet in the store: what is in the store is never read again, and everything else has to be.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { eventually } from "../cluster/eventually.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { SeenRequest } from "../cluster/faultproxy.ts";
import { journaledBytes } from "../transfer/journaled.ts";
import { costOf } from "./command.ts";
import { print } from "./figures.ts";
import { putModel } from "./importmodel.ts";
import { berthLine, environment } from "./importrig.ts";
import type { Bench } from "./imports.ts";

const SHARDS = 4;
const SHARD_BYTES = Number(process.env["SHARD_MIB"] ?? "256") * 2 ** 20;
/** As many as the buffers hold: 256 MiB. */
const MOST_PARTS_AT_ONCE = 16;
const PART_BYTES = 16 << 20;
/** Of a header, which is read by both importers. */
const HEADER_BYTES = 64 << 10;

/** Bytes that came of an answer; zero of what is no part of a file. */
function weightsOf({ method, headers, passedBytes }: SeenRequest): number {
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "") ?? [];
  const askedBytes = method === "GET" && from !== undefined ? Number(to) - Number(from) + 1 : 0;
  return askedBytes > HEADER_BYTES ? passedBytes : 0;
}

function resumeFigures(againBytes: number, inFlightBytes: number): void {
  const [name, unit] = ["import.resume", "MiB"];
  print({
    name: `${name}.again`,
    value: againBytes / 2 ** 20,
    unit,
    limit: inFlightBytes / 2 ** 20,
    against: "come and not in the store at the kill (wanted at most)",
  });
  print({
    name: `${name}.inflight`,
    value: inFlightBytes / 2 ** 20,
    unit,
    limit: (MOST_PARTS_AT_ONCE * PART_BYTES) / 2 ** 20,
    against: "parts at once that the buffers hold; it begins with 8",
  });
}

export async function resumeLine(bench: Bench): Promise<void> {
  const model = await putModel(bench.s3, { name: "resume", shards: SHARDS, shardBytes: SHARD_BYTES });
  const proxy = await startFaultProxy({ target: bench.s3.endpoint, dialect: "s3" });
  const env = { ...environment(bench), AWS_ENDPOINT_URL_S3: proxy.url };
  const weightBytes = SHARDS * SHARD_BYTES;
  const cameBytes = (): number => proxy.seen.reduce((sum, request) => sum + weightsOf(request), 0);
  const folder = bench.newFolder();
  const line = berthLine(model.place, `file://${folder}`);
  const first = spawn("bash", ["-c", `exec ${line}`], { env: { ...process.env, ...env }, stdio: "ignore" });
  await eventually(() => cameBytes() > weightBytes * 0.9, { what: "nine tenths have come", recheckMs: 5, deadlineMs: 120_000 }); // prettier-ignore
  first.kill("SIGKILL");
  await once(first, "close");
  const inFlightBytes = cameBytes() - journaledBytes(folder);
  await costOf(line, env);
  await proxy.close();
  resumeFigures(Math.max(0, cameBytes() - weightBytes), inFlightBytes);
}
