// status.nodeSupport on the real API server: written when a model is inspected, again when a node type appears, changes or goes.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Model } from "../../operator/api/model.ts";
import { apiPath } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { closeStage, stage, tenant as newTenant } from "./stage.ts";

after(closeStage);

test("a model's matrix follows the node types", async (t) => {
  const { cluster } = await stage();
  const tenant = await newTenant(t);
  const path = apiPath("berth.dev/v1alpha1", "nodetypes", { name: "matrix-h100" });
  const h100 = (count: number, disabled = false): object => ({
    apiVersion: "berth.dev/v1alpha1",
    kind: "NodeType",
    metadata: { name: "matrix-h100" },
    spec: {
      gpu: { product: "NVIDIA H100 80GB HBM3", count, memory: "80Gi", resourceName: "nvidia.com/gpu" },
      provider: { static: { nodeSelector: { "example.com/gpu": "matrix-h100" } } },
      vcpus: 24,
      memory: "240Gi",
      disabled,
    },
  });
  const support = async (): Promise<NonNullable<NonNullable<Model["status"]>["nodeSupport"]>[number] | undefined> => {
    const { items } = await cluster.admin.list<Model>(tenant.path("models"));
    return items[0]?.status?.nodeSupport?.find(({ nodeType }) => nodeType === "matrix-h100");
  };
  await cluster.admin.apply(path, h100(1));
  const one = await eventually(support, { what: "the new node type has a row" });
  assert.deepEqual(
    one.quantizations.map(({ bits }) => bits),
    [4, 8, 16],
  );
  assert.equal(one.quantizations.find(({ bits }) => bits === 16)?.allowed, true);
  assert.match(one.quantizations.find(({ bits }) => bits === 4)?.reason ?? "", /4 bits/);

  await cluster.admin.apply(path, h100(7));
  await eventually(
    async () => /cannot be divided over 7 GPUs/.test((await support())?.quantizations.at(-1)?.reason ?? ""),
    { what: "seven GPUs are refused with the reason" },
  );
  await cluster.admin.apply(path, h100(1, true));
  await eventually(async () => (await support()) === undefined, { what: "a disabled node type has no row" });
  await cluster.admin.remove(path);
});
