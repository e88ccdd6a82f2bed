/** Keeps the Ledger object: what the probe of the store found, whether windows are sealed, and through which one. */
import { mergeConditions } from "../api/conditions.ts";
import type { WantedCondition } from "../api/conditions.ts";
import { API_VERSION, fieldManagers } from "../api/keys.ts";
import type { LedgerObject } from "../api/ledgerkind.ts";
import { ledgers } from "../api/resources.ts";
import { canonicalJson } from "../plan/metering/canonical.ts";
import { instantOfSeconds } from "../plan/metering/windows.ts";
import type { Clock, KubeReader, KubeWriter, Log } from "../ports.ts";
import { ConflictError, TerminalError, messageOf } from "../runtime/errors.ts";

/** There is one ledger a cluster, and so one object. */
export const LEDGER_NAME = "berth";

export interface LedgerHealth {
  /** Whether the store honours "only if absent". */
  probed(conditional: boolean): void;
  /** A pass of the sealer, or the probe, failed; `failures` in a row. */
  failed(error: unknown, failures: number): void;
  /** A pass came through; seconds, undefined while nothing was ever sealed. */
  sealed(through: number | undefined): void;
  stop(): Promise<void>;
}

export interface LedgerHealthDeps {
  readonly kube: Pick<KubeReader, "read"> & Pick<KubeWriter, "create" | "mergePatch">;
  readonly clock: Clock;
  readonly log: Log;
  readonly url: string;
}

/** One reset of a connection, or a start that is not through, is no news. */
const telling = 3;
const retryMs = 30_000;
const longestMessage = 1_000;

const sealing: WantedCondition = {
  type: "Ready",
  status: "True",
  reason: "Sealing",
  message: "windows are sealed as they become due",
};
const conditionalWrites: WantedCondition = {
  type: "ConditionalWrites",
  status: "True",
  reason: "OverwritesRefused",
  message: "the store refuses to overwrite what is there",
};
export const UNCONDITIONAL =
  "the ledger's store overwrites objects despite If-None-Match: *; each is looked for before it is written, which two writers at the same moment can defeat: use a store that honours conditional writes";

/** Nothing that is sealed waits for these writes, and none of them is needed for correctness. */
export function newLedgerHealth(deps: LedgerHealthDeps): LedgerHealth {
  const { clock, log } = deps;
  let known: Known = { ready: undefined, writes: undefined, through: undefined };
  let written: Known | undefined;
  let running: Promise<void> = Promise.resolve();
  let cancel = (): void => undefined;
  let stopped = false;

  async function write(): Promise<void> {
    const now = known;
    if (stopped || now === written) return;
    try {
      await writeHealth(deps, now);
      written = now;
    } catch (error) {
      log.warn({ error: messageOf(error) }, "the Ledger object could not be written, will be tried again");
      cancel();
      if (!stopped) cancel = clock.after(error instanceof ConflictError ? 1_000 : retryMs, later);
    }
  }
  const later = (): void => void (running = running.then(write));
  const learn = (news: Partial<Known>): void => {
    const next = { ...known, ...news };
    if (JSON.stringify(next) === JSON.stringify(known)) return;
    known = next;
    later();
  };
  return {
    probed: (conditional) =>
      learn({
        writes: conditional
          ? conditionalWrites
          : { ...conditionalWrites, status: "False", reason: "LedgerUnconditional", message: UNCONDITIONAL },
      }),
    failed(error, failures) {
      const terminal = error instanceof TerminalError;
      if (!terminal && failures < telling) return;
      const reason = terminal ? error.reason : "SealingFailed";
      learn({ ready: { ...sealing, status: "False", reason, message: messageOf(error).slice(0, longestMessage) } });
    },
    sealed: (through) => learn({ ready: sealing, ...(through === undefined ? {} : { through }) }),
    async stop() {
      stopped = true;
      cancel();
      await running;
    },
  };
}

interface Known {
  readonly ready: WantedCondition | undefined;
  readonly writes: WantedCondition | undefined;
  readonly through: number | undefined;
}

/** A condition that this process knows nothing of yet stays as the last leader left it. */
async function writeHealth({ kube, clock, url }: LedgerHealthDeps, { ready, writes, through }: Known): Promise<void> {
  const by = { manager: fieldManagers.operator };
  const body: LedgerObject = {
    apiVersion: API_VERSION,
    kind: "Ledger",
    metadata: { name: LEDGER_NAME },
    spec: { url },
  };
  let object = (await kube.read(ledgers, undefined, LEDGER_NAME)) ?? (await kube.create(ledgers, body, by));
  if (object.spec.url !== url) object = await kube.mergePatch(ledgers, undefined, LEDGER_NAME, { spec: { url } }, by);
  const current = object.status?.conditions;
  const before = (type: string): WantedCondition | undefined => current?.find((one) => one.type === type);
  const wanted = [ready ?? before("Ready"), writes ?? before("ConditionalWrites")].filter((one) => one !== undefined);
  const at = { now: clock.now(), generation: object.metadata.generation ?? 0 };
  const conditions = mergeConditions(current, wanted, at);
  const sealedThrough = through === undefined ? object.status?.sealedThrough : instantOfSeconds(through);
  const status = { conditions, ...(sealedThrough === undefined ? {} : { sealedThrough }) };
  if (canonicalJson(status) === canonicalJson(object.status ?? {})) return;
  const { resourceVersion } = object.metadata;
  const patch = { metadata: { resourceVersion }, status };
  await kube.mergePatch(ledgers, undefined, LEDGER_NAME, patch, { ...by, subresource: "status" });
}
