// A larger model whose importer is killed in the middle: what is finished is not copied again, and the digest is the same.
import { API_VERSION } from "../../../operator/api/keys.ts";
import type { Model } from "../../../operator/api/model.ts";
import { apiPath } from "../../cluster/client.ts";
import { eventually } from "../../cluster/eventually.ts";
import { startFaultProxy } from "../../cluster/faultproxy.ts";
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

async function killed(demo: Demo, endpoint: string): Promise<void> {
  await withBoard(demo.screen.board(), async (board) => {
    await board.during("copy", async (row) => {
      await putModel(demo, endpoint, { accessKeyId: demo.s3.accessKeyId, secretAccessKey: demo.s3.secretAccessKey });
      const isMiddle = ({ status }: Model): boolean => Number.parseInt(status?.copied ?? "0", 10) >= 30;
      const { status } = await until(demo, row, "the copy is in its middle", isMiddle);
      await demo.importer.kill();
      row.say(`kill -9 at ${status?.copied ?? ""}, ${status?.progress?.files ?? ""} files`);
    });
    await board.during("resume", async (row) => {
      await demo.importer.start();
      const isWhole = (model: Model): boolean => conditionOf(model, "Ready")?.status === "True";
      const { status } = await until(demo, row, "the model is imported", isWhole);
      const folder = larger();
      if (status?.digest !== digestOf(folder, filesBelow(folder))) throw new Error(`the digest is ${status?.digest}`);
      row.say("same digest as the source's files");
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
      const match = (request: { path: string }): boolean => request.path.endsWith(".safetensors");
      slow.add({ match, fault: { kind: "delay", delayMs } });
      demo.screen.say(
        `Each read from this bucket takes ${String(delayMs / 1000)} s longer, so that there is a middle.`,
      );
      await killed(demo, slow.url);
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
