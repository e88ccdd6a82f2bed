// A ledger against a cluster: which of the two is older decides whether claims may be closed.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import { signerOf } from "../../operator/adapters/ledger/signing.ts";
import { openLedger } from "../../operator/adapters/ledger/open.ts";
import type { KeptManifest } from "../../operator/controllers/clusterhead.ts";
import { newContinuity } from "../../operator/controllers/continuity.ts";
import type { CapacityClaim } from "../../operator/api/capacityclaim.ts";
import { newHead } from "../../operator/controllers/ledgerreads.ts";
import type { ManifestSigner } from "../../operator/ports.ts";
import { claim, instant } from "./meteringobjects.ts";
import { running, sealerAt } from "./sealerrig.ts";

function keyNow(): ManifestSigner {
  const { privateKey } = generateKeyPairSync("ed25519");
  return signerOf(privateKey.export({ type: "pkcs8", format: "pem" }).toString(), "a test");
}

const ours = keyNow();

const n1 = (released?: string): CapacityClaim =>
  claim({ id: "n1", deployment: "chat", claimed: "10:14:20", ...(released && { released }) });
const marked = (through: string): CapacityClaim => {
  const one = n1();
  return { ...one, status: { ...one.status, sealedThrough: instant(through) } };
};

/** Ends that are written on n1, open and marked with the hour from ten, in a cluster that keeps the head after so many of the hours. */
async function closings(
  t: TestContext,
  hours: readonly (readonly CapacityClaim[])[],
  kept: number | undefined,
  more: { readonly signer?: ManifestSigner; readonly announced?: boolean } = { signer: ours },
) {
  const folder = await mkdtemp(join(tmpdir(), "berth-continuity-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const ledger = openLedger({ url: pathToFileURL(folder).href });
  const heads: KeptManifest[] = [];
  for (const [i, claims] of hours.entries()) {
    const signer = more.signer && { signer: more.signer };
    await sealerAt({ ledger, at: `${11 + i}:06:00`, objects: { ...running, claims }, ...signer }).sealer.pass();
    const head = await newHead(ledger)();
    assert.ok(head);
    heads.push({ key: head.key, sha256: head.sha256 });
  }
  const ends: unknown[] = [];
  const [found] = kept === undefined ? [] : heads.slice(kept - 1);
  const announced = more.announced ? heads.slice(kept) : [];
  const compare = newContinuity({
    ledger,
    kube: {
      mergePatch: async (_resource, _namespace, _name, body) => {
        const { status } = body as { status?: { releasedAt: { time: string; estimated?: boolean } } };
        if (status) ends.push([status.releasedAt.time, status.releasedAt.estimated ?? false]);
        return n1() as never;
      },
    },
    unproven: () => undefined,
    headKeeper: { read: async () => found && { ...found, windowEnd: "", announced } },
    signer: async () => ours,
    sealedThroughMs: () => undefined,
  });
  await compare({ ...running, claims: [marked("11:00:00")] });
  return ends;
}

const held = [n1()];
const lost: readonly CapacityClaim[] = [];
const over = [n1("11:20:00")];

test("a cluster that keeps the ledger's head was not set back: windows of others end nothing in it", async (t) => {
  assert.deepEqual(await closings(t, [held, lost, lost, lost], 4), []);
  assert.deepEqual(await closings(t, [held, over, lost], 3), []);
});

test("a death between a window and its head leaves a cluster that is one behind: what the window lacks has not ended", async (t) => {
  assert.deepEqual(await closings(t, [held, lost], 1), []);
});

test("a cluster that was set back has its claims closed where the ledger ends them, also where it keeps no head", async (t) => {
  for (const kept of [1, undefined])
    assert.deepEqual(await closings(t, [held, over, lost, lost], kept), [[instant("11:20:00"), false]]);
});

test("a window after the kept head that is neither announced nor signed by us ends nothing: anybody with the bucket's keys can put it there", async (t) => {
  for (const more of [{}, { signer: keyNow() }])
    for (const hours of [
      [held, over],
      [held, over, lost, lost],
      [held, held, lost, lost],
    ])
      assert.deepEqual(await closings(t, hours, 1, more), []);
  assert.deepEqual(await closings(t, [held, over], 1, { announced: true }), [[instant("11:20:00"), false]]);
});

test("without an end in the ledger a claim is closed where it was last held, in a cluster that is well behind alone", async (t) => {
  assert.deepEqual(await closings(t, [held, held, lost, lost], 1), [[instant("12:00:00"), true]]);
  assert.deepEqual(await closings(t, [held, held, lost, lost], undefined), []);
});
