/** Histories packed by shard give the lines that whole ones give, whatever is known of a pool and however many shards there are. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { closing } from "../../operator/api/ledger.ts";
import { packHistories } from "../../operator/controllers/histories.ts";
import type { Meters } from "../../operator/controllers/histories.ts";
import { closingBody } from "../../operator/plan/metering/closing.ts";
import { canonicalJson } from "../../operator/plan/metering/canonical.ts";
import { lifeOf } from "../../operator/plan/metering/fold.ts";
import { historiesOf } from "../../operator/plan/metering/history.ts";
import type { Facts } from "../../operator/plan/metering/history.ts";
import { metersOf, nextWindow, nextWindowOf } from "../../operator/plan/metering/records.ts";
import { shardMeters, usageLines } from "../../operator/plan/metering/segment.ts";
import { CLUSTER, claim, deployment, pool } from "./meteringobjects.ts";
import { hour } from "../plan/metering/histories.ts";
import { gone } from "./sealerrig.ts";

const names = Array.from({ length: 300 }, (_, i) => `d${i}`);

/** Deployments that run, grow and end, one that left only its closing object, and claims whose pool is unknown. */
const facts: Facts = {
  deployments: names.map((name, i) => deployment(name, i % 7 === 0 ? "11:20:00" : undefined)),
  pools: names.map((name, i) =>
    pool({
      deployment: name,
      sizes:
        i % 3 === 0
          ? [["10:05:00", 1]]
          : [
              ["10:05:00", 1],
              ["11:30:00", 2],
            ],
    }),
  ),
  claims: [
    ...names.map((name, i) =>
      claim({ id: `n-${name}`, deployment: name, claimed: "10:14:20", ...(i % 5 === 0 && { released: "11:50:00" }) }),
    ),
    claim({ id: "lost", deployment: "without-pool", claimed: "10:20:00" }),
    claim({ id: "late", deployment: "gone", claimed: "10:20:00" }),
  ],
  closings: [closing.parse(JSON.parse(new TextDecoder().decode(closingBody(gone))))],
};
const histories = historiesOf(facts);

const linesOf = (meters: readonly Meters[]): string[] =>
  meters.map((own) => canonicalJson([10, 11, 12].flatMap((h) => [...usageLines(own, hour(h), CLUSTER)])));

for (const shards of [1, 3, 16]) {
  test(`packed in ${shards} shards they give the same lines, asked for in as many or another number of shards`, () => {
    const packed = packHistories(facts, shards);
    for (const wanted of [shards, 1, 5]) {
      const whole = shardMeters(metersOf(histories), wanted);
      assert.deepEqual(linesOf(packed.byShard(wanted)), linesOf(whole), `${wanted} wanted`);
    }
  });

  test(`of ${shards} shards the lives, the next window and the meters of some deployments are those of whole ones`, () => {
    const packed = packHistories(facts, shards);
    for (const [uid, own] of Map.groupBy(histories, ({ deploymentUID }) => deploymentUID))
      assert.deepEqual(packed.lifeOf(uid), lifeOf(own));
    assert.equal(packed.lifeOf("nobody"), undefined);
    for (const sealedThrough of [undefined, hour(11).start, hour(23).start]) {
      const at = { sealedThrough, dueEnd: hour(13).end, windowSeconds: 3600 };
      assert.deepEqual(nextWindowOf(packed.lives, at), nextWindow(histories, at));
    }
    const uids = new Set(["uid-d7", "uid-d8", "uid-gone", "nobody"]);
    const some = metersOf(histories.filter(({ deploymentUID }) => uids.has(deploymentUID)));
    assert.deepEqual(linesOf([packed.metersOf(uids)]), linesOf([some]));
  });
}
