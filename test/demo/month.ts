// A month of two deployments that nobody ran: sizes and nodes, as the objects that pools leave behind when they go. The
// product's own sealer makes hours of them; nothing else is played.
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Registry } from "prom-client";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { signerOf } from "../../operator/adapters/ledger/signing.ts";
import { CLOSING_SCHEMA } from "../../operator/api/ledger.ts";
import type { Closing } from "../../operator/api/ledger.ts";
import { newLedgerMetrics } from "../../operator/controllers/ledgermetrics.ts";
import { newSealer } from "../../operator/controllers/sealer.ts";
import { canonicalBytes } from "../../operator/plan/metering/canonical.ts";
import { instantOfSeconds } from "../../operator/plan/metering/windows.ts";
import type { Log } from "../../operator/ports.ts";
import { newManualClock } from "../runtime/manualclock.ts";
import { team } from "./chapter.ts";

export const month = { from: "2026-06-01", to: "2026-07-01" } as const;
const begin = Date.parse(`${month.from}T00:00:00Z`) / 1000;
const end = Date.parse(`${month.to}T00:00:00Z`) / 1000;
const day = 86_400;
const hour = 3_600;

/** Two nodes, four in the hours of work, one at the weekend. Nodes come three minutes after they are asked for. */
function chat(): Pick<Closing, "steps" | "claims"> {
  const steps: { at: number; size: number }[] = [];
  for (let at = begin; at < end; at += day) {
    const weekend = [0, 6].includes(new Date(at * 1000).getUTCDay());
    steps.push({ at, size: weekend ? 1 : 2 });
    if (!weekend) steps.push({ at: at + 8 * hour, size: 4 }, { at: at + 18 * hour, size: 2 });
  }
  return lifeOf("chat", steps);
}

/** One node from the fourth on, none while it is suspended from the 18th to the 22nd. */
function embed(): Pick<Closing, "steps" | "claims"> {
  const of = (date: number): number => begin + (date - 1) * day + 9 * hour;
  return lifeOf("embed", [
    { at: of(4), size: 1 },
    { at: of(18), size: 0 },
    { at: of(22), size: 1 },
  ]);
}

/** Claims that follow the sizes: the newest node goes first, ten minutes after it was let go. */
function lifeOf(
  name: string,
  sizes: readonly { readonly at: number; readonly size: number }[],
): Pick<Closing, "steps" | "claims"> {
  const claims: (Closing["claims"][number] & { readonly claimedAt: string })[] = [];
  const held: number[] = [];
  for (const { at, size } of [...sizes, { at: end, size: 0 }]) {
    while (held.length > size) {
      const last = held.pop() ?? 0;
      const claim = claims[last];
      if (claim) claims[last] = { ...claim, releasedAt: instantOfSeconds(at === end ? end : at + 600) };
    }
    while (held.length < size) {
      held.push(claims.length);
      const claimedAt = instantOfSeconds(at + 180);
      claims.push({ id: `${name}-${String(claims.length)}`, claimedAt, readyAt: instantOfSeconds(at + 420) });
    }
  }
  const steps = sizes.map(({ at, size }) => ({ since: instantOfSeconds(at), size, account: team, tags: {} }));
  return { steps, claims };
}

function closingOf(name: string, life: Pick<Closing, "steps" | "claims">): Closing {
  const pool = { namespace: team, deploymentName: name, deploymentUID: `uid-${name}`, poolUID: `pool-${name}` };
  const shape = { sku: name === "chat" ? "h100-1" : "l4-1", gpus: 1 };
  const endedAt = instantOfSeconds(end);
  return { schema: CLOSING_SCHEMA, cluster: "demo", ...pool, ...shape, endedAt, ...life };
}

export interface SealedMonth {
  readonly folder: string;
  readonly url: string;
  /** PEM of the key that vouches for it. */
  readonly publicKeyFile: string;
  readonly windows: number;
}

/** Seals the month into a directory below `root`, signed by a key made for it. */
export async function sealMonth(root: string): Promise<SealedMonth> {
  const folder = join(root, "month");
  mkdirSync(folder, { recursive: true });
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const publicKeyFile = join(root, "operator.pub");
  writeFileSync(publicKeyFile, publicKey.export({ type: "spki", format: "pem" }));
  const signer = signerOf(privateKey.export({ type: "pkcs8", format: "pem" }).toString(), "a key of the demo");
  const url = pathToFileURL(folder).href;
  const ledger = openLedger({ url });
  for (const closing of [closingOf("chat", chat()), closingOf("embed", embed())])
    await ledger.putOnce(`closing/${closing.deploymentUID}/${closing.poolUID}.json`, canonicalBytes(closing));
  const log: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
  const never = async (): Promise<never> => Promise.reject(new Error("there is no cluster to write to"));
  const { sealed } = await newSealer({
    ledger,
    kube: { mergePatch: never, remove: never },
    clock: newManualClock((end + hour) * 1000),
    log,
    metrics: newLedgerMetrics(new Registry()),
    clusterId: "demo",
    windowSeconds: hour,
    sealGraceSeconds: 300,
    sealSpreadSeconds: 0,
    freshObjects: async () => Promise.resolve({ pools: [], claims: [], deployments: [] }),
    signer: async () => Promise.resolve(signer),
    caughtUp: () => true,
  }).pass();
  return { folder, url, publicKeyFile, windows: sealed.length };
}
