/** A control plane with the pool controllers alone in this process: one ledger and one set of nodes a test. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { closing as closingSchema } from "../../operator/api/ledger.ts";
import type { Closing } from "../../operator/api/ledger.ts";
import type { Ledger } from "../../operator/ports.ts";
import { apiPath } from "../cluster/client.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { testNamespace } from "../cluster/session.ts";
import type { Bed } from "../providers/beds.ts";
import { startPoolOperator } from "../providers/operator.ts";
import type { OperatorOptions, PoolOperator } from "../providers/operator.ts";

export interface PoolStage {
  readonly cluster: ControlPlane;
  readonly bed: Bed;
  readonly namespace: string;
  readonly ledger: Ledger;
  start(options?: Partial<OperatorOptions>): Promise<PoolOperator>;
}

type MakeBed = (t: TestContext, cluster: ControlPlane, stock: number) => Promise<Bed>;

/** What is started by it is stopped when the test ends. */
export async function newPoolStage(
  t: TestContext,
  cluster: ControlPlane,
  makeBed: MakeBed,
  stock: number,
): Promise<PoolStage> {
  const bed = await makeBed(t, cluster, stock);
  const namespace = await testNamespace(t, { prefix: "pool", cluster });
  const ledger = openLedger({ url: pathToFileURL(mkdtempSync(join(tmpdir(), "berth-ledger-"))).href });
  const running: PoolOperator[] = [];
  t.after(() => Promise.all(running.map((operator) => operator.stop())));
  return {
    cluster,
    bed,
    namespace,
    ledger,
    async start(options = {}) {
      const operator = await startPoolOperator({ cluster, ledger, namespace, ...options });
      running.push(operator);
      return operator;
    },
  };
}

export const nodePath = (name: string): string => apiPath("v1", "nodes", { name });

export const claimPath = (name: string, subresource?: string): string =>
  apiPath("berth.dev/v1alpha1", "capacityclaims", { name, subresource });

export const poolPath = (namespace: string, name: string, subresource?: string): string =>
  apiPath("berth.dev/v1alpha1", "gpunodepools", { namespace, name, subresource });

/** As an administrator who is in a hurry: the finalizers go, whoever put them there, and the object with them. */
export async function removeByForce({ admin }: ControlPlane, path: string): Promise<void> {
  await admin.patch(path, { metadata: { finalizers: null } });
  await admin.remove(path);
}

/** The only closing object that a deployment's pools left. */
export async function closingFor(ledger: Ledger, deploymentUID: string): Promise<Closing | undefined> {
  const [key, ...more] = await ledger.list(`closing/${deploymentUID}/`);
  if (key === undefined || more.length > 0) return undefined;
  const bytes = await ledger.get(key);
  return bytes && closingSchema.parse(JSON.parse(Buffer.from(bytes).toString()));
}
