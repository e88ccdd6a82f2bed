// A larger model whose importer is killed in the middle: what is finished is not copied again, and the digest is the same.
import { statSync } from "node:fs";
import { basename, join } from "node:path";
import { API_VERSION } from "../../../operator/api/keys.ts";
import type { Model } from "../../../operator/api/model.ts";
import { apiPath } from "../../cluster/client.ts";
import type { KubeObject } from "../../cluster/client.ts";
import { eventually } from "../../cluster/eventually.ts";
import { startFaultProxy } from "../../cluster/faultproxy.ts";
import type { FaultProxy, SeenRequest } from "../../cluster/faultproxy.ts";
import { llamaFolder } from "../../models/llama.ts";
import { filesBelow, uploadFolder } from "../../models/upload.ts";
import { digestOf } from "../../transfer/bench.ts";
import { buckets } from "../bed.ts";
import { withBoard } from "../board.ts";
import type { Row } from "../board.ts";
import { team } from "../chapter.ts";
import type { Chapter, Demo } from "../chapter.ts";
import { show } from "../kubectl.ts";
import { conditionOf, paths } from "../progress.ts";
import { megabytes } from "../text.ts";

const name = "larger";
const path = apiPath(API_VERSION, "models", { namespace: team, name });
const delayMs = 1_500;

interface ToldEvent {
  readonly reason?: string;
  readonly regarding?: { readonly name?: string };
}

const isWeights = ({ path }: { path: string }): boolean => path.endsWith(".safetensors");

/** A file that fits into one part is asked for without a range. */
function askedBytes({ path, headers }: SeenRequest): number {
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "") ?? [];
  return from === undefined ? statSync(join(larger(), basename(path))).size : Number(to) - Number(from) + 1;
}

/** The bucket of the model behind a server that takes its time, so that there is a middle to be killed in. */
async function putModel({ cluster }: Demo, endpoint: string, keys: object): Promise<void> {
  await cluster.admin.create(apiPath("v1", "secrets", { namespace: team }), {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name, annotations: { "berth.dev/endpoints": endpoint } },
    type: "berth.dev/source-credentials",
    stringData: keys,
  });
  const s3 = { endpoint, bucket: buckets.source, prefix: name, credentialsSecretRef: { name } };
  await cluster.admin.create(apiPath(API_VERSION, "models", { namespace: team }), {
    apiVersion: API_VERSION,
    kind: "Model",
    metadata: { name, namespace: team },
    spec: { source: { s3 } },
  });
}

async function until({ cluster }: Demo, row: Row, what: string, is: (model: Model) => boolean): Promise<Model> {
  return eventually(
    async () => {
      const model = await cluster.admin.get<Model>(path);
      const { bytes = 0, totalBytes = 0 } = model.status?.progress ?? {};
      const reason = conditionOf(model, "Ready")?.reason ?? "waiting";
      row.say(totalBytes > 0 ? `${megabytes(bytes)} of ${megabytes(totalBytes)}` : reason);
      return is(model) ? model : undefined;
    },
    { what, deadlineMs: 60_000, watch: { client: cluster.admin, paths: [paths.models] } },
  );
}

/** Bytes of weights that were asked of the bucket; the first `skipped` requests were another importer's. */
function bytesRead({ seen }: FaultProxy, skipped: number): number {
  const asked = seen
    .slice(skipped)
    .filter((one) => one.method === "GET" && isWeights(one))
    .map(askedBytes);
  return asked.reduce((sum, bytes) => sum + bytes, 0);
}

async function assertTold({ cluster }: Demo): Promise<void> {
  const events = apiPath("events.k8s.io/v1", "events", { namespace: team });
  const isTold = async (): Promise<boolean> => {
    const { items } = await cluster.admin.list<KubeObject & ToldEvent>(events);
    return items.some(({ reason, regarding }) => reason === "Resumed" && regarding?.name === name);
  };
  await eventually(isTold, { what: `the event Resumed of ${name}: the import began anew`, deadlineMs: 5_000 });
}

async function killed(demo: Demo, slow: FaultProxy): Promise<void> {
  await withBoard(demo.screen.board(), async (board) => {
    await board.during("copy", async (row) => {
      await putModel(demo, slow.url, { accessKeyId: demo.s3.accessKeyId, secretAccessKey: demo.s3.secretAccessKey });
      const isMiddle = ({ status }: Model): boolean => Number.parseInt(status?.copied ?? "0", 10) >= 30;
      const { status } = await until(demo, row, "the copy is in its middle", isMiddle);
      await demo.importer.kill();
      row.say(`kill -9 at ${status?.copied ?? ""}, ${status?.progress?.files ?? ""} files`);
    });
    const asked = slow.seen.length;
    await board.during("resume", async (row) => {
      await demo.importer.start();
      const isWhole = (model: Model): boolean => conditionOf(model, "Ready")?.status === "True";
      const { status } = await until(demo, row, "the model is imported", isWhole);
      const folder = larger();
      if (status?.digest !== digestOf(folder, filesBelow(folder))) throw new Error(`the digest is ${status?.digest}`);
      await assertTold(demo);
      const [read, all] = [bytesRead(slow, asked), status.sizeBytes ?? 0];
      if (read >= all)
        throw new Error(`${String(read)} bytes were read again, of ${String(all)}: nothing was gone on with`);
      row.say(`same digest; ${megabytes(read)} of ${megabytes(all)} were read for it`);
    });
  });
}

const larger = (): string => llamaFolder({ weightBytes: 96e6, shards: 12 });

export const importing: Chapter = {
  name: "import",
  title: "An import that is killed in the middle",
  needs: ["serve"],
  run: async (demo) => {
    const client = demo.s3.client();
    await uploadFolder(client, buckets.source, `${name}/`, larger()).finally(() => client.destroy());
    const slow = await startFaultProxy({ target: demo.s3.endpoint, dialect: "s3" });
    try {
      slow.add({ match: isWeights, fault: { kind: "delay", delayMs } });
      demo.screen.say(
        `Each read from this bucket takes ${String(delayMs / 1000)} s longer, so that there is a middle.`,
      );
      await killed(demo, slow);
      await show(demo, ["get", "mdl", name, "-n", team]);
      await show(demo, ["get", "mdl", name, "-n", team, "-o", "jsonpath={.status.digest}"]);
      await show(demo, ["events", "-n", team, "--for", `model.berth.dev/${name}`]);
      await demo.cluster.admin.remove(path);
      const isGone = async (): Promise<boolean> => (await demo.cluster.admin.find(path)) === undefined;
      await eventually(isGone, { what: "the model is removed again" });
    } finally {
      await slow.close();
    }
  },
};
