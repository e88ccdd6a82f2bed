// Installs the chart with the real helm, and starts its two Deployments as processes of this machine: the arguments,
// environment, service accounts and rights are those of the manifests that now stand in the cluster.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { hookValues } from "../chart/hookrunner.ts";
import { startFromManifest } from "../chart/rendered.ts";
import type { Replica } from "../chart/rendered.ts";
import { apiPath } from "../cluster/client.ts";
import { buckets, chartDir } from "./bed.ts";
import type { Bed, OnEnd } from "./bed.ts";
import { withBoard } from "./board.ts";
import { otherTeam, release, systemNamespace, team } from "./chapter.ts";
import type { Screen } from "./screen.ts";

const storageSecret = "object-storage";

/** What the demo shortens so that it can be watched; the chart's defaults stand in parentheses on the screen. */
export const timing = {
  shrinkStabilizationSeconds: 1,
  drainGraceSeconds: 20,
  windowSeconds: 10,
  sealGraceSeconds: 2,
  sealSpreadSeconds: 0,
} as const;

function values({ s3 }: Bed): object {
  const place = { endpoint: s3.endpoint, region: s3.region, existingSecret: storageSecret };
  return {
    ledger: { url: `s3://${buckets.ledger}/usage`, ...place },
    store: { url: `s3://${buckets.store}`, ...place },
    importer: { allowHttpEndpoints: true, allowedEndpointCIDRs: ["127.0.0.1/32"] },
    tenantNamespaces: [team],
    clusterModelSecrets: ["catalogue"],
    timing,
  };
}

async function createPlaces({ cluster, s3 }: Bed): Promise<void> {
  const namespace = (name: string): Promise<object> =>
    cluster.admin.create(apiPath("v1", "namespaces"), { apiVersion: "v1", kind: "Namespace", metadata: { name } });
  await Promise.all([systemNamespace, team, otherTeam].map(namespace));
  await cluster.admin.create(apiPath("v1", "secrets", { namespace: systemNamespace }), {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: storageSecret },
    stringData: { accessKeyId: s3.accessKeyId, secretAccessKey: s3.secretAccessKey },
  });
}

async function helmInstall({ cluster }: Bed, valuesPath: string): Promise<void> {
  const args = ["install", release, chartDir, "-n", systemNamespace, "-f", valuesPath, ...hookValues];
  const { code, stdout, stderr } = await cluster.helm(args);
  if (code !== 0) throw new Error(`helm install failed: ${(stderr || stdout).trim()}`);
}

export interface Installed {
  readonly operator: Replica;
  readonly importer: Replica;
}

export async function install(screen: Screen, bed: Bed, onEnd: OnEnd): Promise<Installed> {
  const valuesPath = join(bed.cluster.runDir, "values.yaml");
  writeFileSync(valuesPath, stringify(values(bed)));
  screen.command(`helm install ${release} charts/berth -n ${systemNamespace} -f values.yaml`);
  const installed = await withBoard(screen.board(), async (board) => {
    await board.during("helm install", async (row) => {
      row.say("CRDs, RBAC, policies, operator, importer");
      await createPlaces(bed);
      await helmInstall(bed, valuesPath);
    });
    const start = (component: "operator" | "importer"): Promise<Replica> =>
      board.during(component, async (row) => {
        row.say("as a process, with the chart's flags and rights");
        const args = component === "importer" ? ["--progress-seconds=1"] : [];
        const from = { cluster: bed.cluster, release, namespace: systemNamespace, component, overrides: { args } };
        const replica = await startFromManifest(from);
        onEnd(() => replica.stop());
        await replica.ready();
        return replica;
      });
    const [operator, importer] = await Promise.all([start("operator"), start("importer")]);
    return { operator, importer };
  });
  screen.say(
    `Shortened to be watched: usage is sealed every ${String(timing.windowSeconds)} s (3600 s), ` +
      `${String(timing.sealGraceSeconds)} s later (300 s); nodes are given back after ` +
      `${String(timing.shrinkStabilizationSeconds)} s (300 s).`,
  );
  return installed;
}
