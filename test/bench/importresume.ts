// kill -9 at 90 %: bytes that the next importer reads again from the source, counted between it and the server.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import { costOf } from "./command.ts";
import { print } from "./figures.ts";
import { putModel } from "./importmodel.ts";
import { berthLine, environment } from "./importrig.ts";
import type { Bench } from "./imports.ts";

const PARTS_IN_FLIGHT = 16;
const PART_BYTES = 16 << 20;

export async function resumeLine(bench: Bench): Promise<void> {
  const model = await putModel(bench.s3, { name: "resume", shards: 4, shardBytes: 256 << 20 });
  const proxy = await startFaultProxy({ target: bench.s3.endpoint, dialect: "s3" });
  const env = { ...environment(bench), AWS_ENDPOINT_URL_S3: proxy.url };
  let asked = 0;
  const reached = Promise.withResolvers<void>();
  const match = ({ method, headers }: { method: string; headers: { range?: string } }): boolean => {
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "") ?? [];
    if (method === "GET" && from !== undefined) asked += Number(to) - Number(from) + 1;
    if (asked > model.bytes * 0.9) reached.resolve();
    return false;
  };
  proxy.add({ match, fault: { kind: "reset" } });
  const line = berthLine(model.place, `file://${bench.newFolder()}`);
  const first = spawn("bash", ["-c", `exec ${line}`], { env: { ...process.env, ...env }, stdio: "ignore" });
  await reached.promise;
  first.kill("SIGKILL");
  await once(first, "close");
  const before = asked;
  await costOf(line, env);
  const again = before + (asked - before) - model.bytes;
  await proxy.close();
  print({
    name: "import.resume.again",
    value: Math.max(0, again) / 2 ** 20,
    unit: "MiB",
    limit: (PARTS_IN_FLIGHT * PART_BYTES) / 2 ** 20,
    against: "parts in flight",
  });
}
