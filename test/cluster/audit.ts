// The API server's audit log as a counter: which user asked for what, and what it was answered.
import { randomUUID } from "node:crypto";
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { ApiClient } from "./client.ts";

/** Kubernetes' audit policy: metadata of every request, once, when its answer is complete (watches also when they begin). */
export const auditPolicy = {
  apiVersion: "audit.k8s.io/v1",
  kind: "Policy",
  omitStages: ["RequestReceived"],
  rules: [{ level: "None", nonResourceURLs: ["/readyz*", "/livez*", "/healthz*"] }, { level: "Metadata" }],
};

/** One request. A watch appears twice: with stage ResponseStarted and, when it ended, ResponseComplete. */
export interface AuditEntry {
  readonly user: string;
  /** Set where the request was made by impersonation; `user` is then the impersonator. */
  readonly impersonated?: string;
  readonly verb: string;
  /** Plural name; `pods/status` with a subresource; the path for what is no resource. */
  readonly resource: string;
  readonly group: string;
  readonly namespace: string;
  readonly name: string;
  readonly code: number;
  readonly stage: string;
  readonly userAgent: string;
  readonly uri: string;
  readonly receivedAt: string;
}

export interface AuditFilter {
  readonly user?: string | RegExp;
  readonly verbs?: readonly string[];
  readonly resources?: readonly string[];
  readonly namespace?: string;
  readonly codes?: (code: number) => boolean;
  readonly userAgent?: string | RegExp;
}

/** A position in the log. */
export interface AuditMark {
  readonly offset: number;
}

export interface Audit {
  /** The log's end, after every request that was answered before this call. */
  mark(): Promise<AuditMark>;
  /** Requests answered since the mark (flushed first), ResponseStarted of watches left out unless asked for. */
  since(mark: AuditMark, filter?: AuditFilter & { started?: boolean }): Promise<AuditEntry[]>;
}

/** The verbs that change something. */
export const writeVerbs: readonly string[] = ["create", "update", "patch", "delete", "deletecollection"];

/** Counts entries by `verb resource code`, e.g. `{"patch deployments 200": 3}`, sorted by that text. */
export function tally(entries: readonly AuditEntry[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const { verb, resource, code } of entries) {
    const key = `${verb} ${resource} ${String(code)}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)));
}

interface RawEvent {
  readonly stage: string;
  readonly verb: string;
  readonly requestURI: string;
  readonly userAgent?: string;
  readonly user: { readonly username: string };
  readonly impersonatedUser?: { readonly username: string };
  readonly objectRef?: Record<"resource" | "subresource" | "apiGroup" | "namespace" | "name", string | undefined>;
  readonly responseStatus?: { readonly code?: number };
  readonly requestReceivedTimestamp: string;
}

function entryOf(event: RawEvent): AuditEntry {
  const at = event.objectRef;
  return {
    user: event.user.username,
    impersonated: event.impersonatedUser?.username,
    verb: event.verb,
    resource: at?.resource
      ? at.resource + (at.subresource ? `/${at.subresource}` : "")
      : (event.requestURI.split("?")[0] ?? ""),
    group: at?.apiGroup ?? "",
    namespace: at?.namespace ?? "",
    name: at?.name ?? "",
    code: event.responseStatus?.code ?? 0,
    stage: event.stage,
    userAgent: event.userAgent ?? "",
    uri: event.requestURI,
    receivedAt: event.requestReceivedTimestamp,
  };
}

function readFrom(path: string, offset: number): string {
  const length = statSync(path).size - offset;
  if (length <= 0) return "";
  const file = openSync(path, "r");
  try {
    const bytes = Buffer.alloc(length);
    const read = readSync(file, bytes, 0, length, offset);
    const text = bytes.subarray(0, read);
    // The last line may still be written.
    return text.subarray(0, text.lastIndexOf(0x0a) + 1).toString("utf8");
  } finally {
    closeSync(file);
  }
}

const fits = (wanted: string | RegExp | undefined, value: string): boolean =>
  wanted === undefined || (typeof wanted === "string" ? wanted === value : wanted.test(value));

function matches(entry: AuditEntry, filter: AuditFilter): boolean {
  return (
    fits(filter.user, entry.impersonated ?? entry.user) &&
    fits(filter.userAgent, entry.userAgent) &&
    (!filter.verbs || filter.verbs.includes(entry.verb)) &&
    (!filter.resources || filter.resources.includes(entry.resource)) &&
    (filter.namespace === undefined || filter.namespace === entry.namespace) &&
    (!filter.codes || filter.codes(entry.code))
  );
}

/** Reads the log at `path`; `admin` is used to flush it. */
export function newAudit(path: string, admin: ApiClient): Audit {
  // The server logs a request after it has answered it: a request of our own that shows up proves that earlier ones did.
  async function flush(from: number): Promise<number> {
    const token = `audit-flush-${randomUUID()}`;
    await admin.raw({ path: `/version?${token}` });
    const deadline = Date.now() + 10_000;
    for (;;) {
      const text = readFrom(path, from);
      const at = text.indexOf(token);
      if (at >= 0) return from + Buffer.byteLength(text.slice(0, text.indexOf("\n", at) + 1));
      if (Date.now() > deadline) throw new Error(`the audit log ${path} does not show a request made 10 s ago`);
      await delay(5);
    }
  }
  return {
    mark: async () => ({ offset: await flush(statSync(path).size) }),
    since: async (mark, filter = {}) => {
      const end = await flush(mark.offset);
      const lines = readFrom(path, mark.offset).split("\n");
      let offset = mark.offset;
      const entries: AuditEntry[] = [];
      for (const line of lines) {
        offset += Buffer.byteLength(line) + 1;
        if (!line || offset > end || line.includes("audit-flush-")) continue;
        const entry = entryOf(JSON.parse(line) as RawEvent);
        if (entry.stage === "ResponseStarted" && !filter.started) continue;
        if (matches(entry, filter)) entries.push(entry);
      }
      return entries;
    },
  };
}
