/** Asks a usage API: which server, whose token, all pages. What is wrong is said with what to do about it. */
import { readFile } from "node:fs/promises";

import type { z } from "zod";

import { newUsageSource } from "../controllers/usage.ts";
import { parseQuery } from "../http/usagequery.ts";
import { openFromShell } from "./ledger.ts";
import { groupedUsage, usageReport } from "../api/usage.ts";
import type { GroupedUsage, UsageGroup, UsageLine, UsageReport } from "../api/usage.ts";

export interface UsageIO {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Standard output. */
  readonly write: (text: string) => void;
  /** Standard error. */
  readonly complain?: (text: string) => void;
}

/** What is asked, and of whom. */
export interface Question {
  readonly from?: string;
  readonly to?: string;
  readonly namespace?: string;
  readonly allNamespaces?: boolean;
  readonly deployment?: string;
  readonly deploymentUid?: string;
  readonly account?: string;
  readonly server?: string;
  readonly tokenFile?: string;
  readonly kubeconfig?: string;
  readonly plainHttp?: boolean;
  readonly ledgerUrl?: string;
  readonly ledgerEndpoint?: string;
  readonly ledgerRegion?: string;
}

/** What fits into this process's memory and a terminal's patience. */
const mostRecords = 200_000;

/** Something that the caller can mend; the message says how. */
export class UsageError extends Error {}

/** The server's URL with the question in it, and the namespace that it is about. */
export async function questionOf(
  flags: Question,
  env: UsageIO["env"],
): Promise<{ url: URL; namespace: string | undefined }> {
  if (flags.ledgerUrl !== undefined) return { url: asked(new URL("ledger:/v1/usage"), flags), namespace: undefined };
  const server = flags.server ?? env["BERTH_USAGE_SERVER"];
  if (!server) {
    throw new UsageError(
      "no server: run `kubectl -n berth-system port-forward svc/berth-operator 8082` and give --server http://127.0.0.1:8082",
    );
  }
  const url = URL.canParse(server) ? new URL(server) : undefined;
  if (!url || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new UsageError(`--server ${server} is no http or https URL: write for example http://127.0.0.1:8082`);
  }
  const local = ["localhost", "127.0.0.1", "[::1]"].includes(url.hostname);
  if (url.protocol === "http:" && !local && !flags.plainHttp) {
    throw new UsageError(
      `${server} has no TLS, your token would be readable on its way: use https, or add --plain-http`,
    );
  }
  url.pathname = `${url.pathname.replace(/\/$/, "")}/v1/usage`;
  const namespace = flags.allNamespaces ? undefined : (flags.namespace ?? (await kubeconfigOf(flags, env))?.namespace);
  return { url: asked(url, { ...flags, namespace }), namespace };
}

function asked(url: URL, { from, to, namespace, deployment, deploymentUid: deploymentUID, account }: Question): URL {
  const parameters = { from, to, namespace, deployment, deploymentUID, account };
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) url.searchParams.set(name, value);
  return url;
}

type Answerer = <T>(url: URL, shape: z.ZodType<T>) => Promise<T>;

/** A server with the caller's token, or the ledger itself, which knows no callers: whoever has its keys may read all of it. */
async function answererOf(flags: Question, env: UsageIO["env"]): Promise<Answerer> {
  const { ledgerUrl, ledgerEndpoint: endpoint, ledgerRegion: region } = flags;
  if (ledgerUrl === undefined) {
    const authorization = `Bearer ${await tokenOf(flags, env)}`;
    return (url, shape) => askPage(url, authorization, shape);
  }
  const clock = { now: () => Date.now() };
  const ledger = sayWhy(() => openFromShell({ ledgerUrl, endpoint, region }, env));
  const source = newUsageSource({ ledger, clock, clusterId: "", windowSeconds: 3600 });
  return async (url, shape) => {
    const query = sayWhy(() => parseQuery(url.searchParams, clock.now()));
    try {
      return shape.parse(await source(query, async () => Promise.resolve(true)));
    } catch (error) {
      throw new UsageError(error instanceof Error ? error.message : String(error));
    }
  };
}

function sayWhy<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** All pages as one report. */
export async function ask(url: URL, flags: Question, env: UsageIO["env"]): Promise<UsageReport> {
  const answer = await answererOf(flags, env);
  const records: UsageLine[] = [];
  for (;;) {
    const { next, ...page } = await answer(url, usageReport);
    records.push(...page.records);
    if (next === undefined) return { ...page, records };
    if (records.length > mostRecords) {
      const most = `the answer has more than ${String(mostRecords)} records`;
      throw new UsageError(`${most}: ask for a shorter time, one namespace or one deployment`);
    }
    url.searchParams.set("cursor", next);
  }
}

async function askPage<T>(url: URL, authorization: string, shape: z.ZodType<T>): Promise<T> {
  let response: Response;
  try {
    response = await fetch(url, { headers: { authorization }, redirect: "error", signal: AbortSignal.timeout(60_000) });
  } catch (error) {
    const why = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
    throw new UsageError(`${url.origin} does not answer (${why}): is the port-forward running, is --server right?`);
  }
  const body: unknown = await response.json().catch(() => undefined);
  if (!response.ok) throw new UsageError(refusalOf(response.status, body));
  const parsed = shape.safeParse(body);
  if (!parsed.success)
    throw new UsageError(`${url.origin} answered with something that is no usage report: is it Berth's usage API?`);
  return parsed.data;
}

function refusalOf(status: number, body: unknown): string {
  const said =
    typeof body === "object" && body !== null && "error" in body ? String(body.error) : "no explanation given";
  if (status === 401)
    return `the server did not accept your token (401): ${said}; \`kubectl create token <service account>\` makes one`;
  return `${said} (${status})`;
}

async function tokenOf(flags: Question, env: UsageIO["env"]): Promise<string> {
  if (flags.tokenFile !== undefined) return tokenFromFile(flags.tokenFile);
  if (env["BERTH_TOKEN"]) return env["BERTH_TOKEN"];
  const token = (await kubeconfigOf(flags, env))?.token;
  if (token !== undefined) return token;
  throw new UsageError(
    "no token: give --token-file or BERTH_TOKEN, for example BERTH_TOKEN=$(kubectl create token <service account>); a kubeconfig with a client certificate alone cannot be used here",
  );
}

async function tokenFromFile(path: string): Promise<string> {
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    throw new UsageError(
      `--token-file ${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** Token and namespace of the current context, or undefined where no kubeconfig is named. */
async function kubeconfigOf(
  { kubeconfig }: Question,
  env: UsageIO["env"],
): Promise<{ readonly token: string | undefined; readonly namespace: string | undefined } | undefined> {
  const path = kubeconfig ?? env["KUBECONFIG"];
  if (!path) return undefined;
  // Loaded only here: it is large, and most calls bring their token with them.
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  try {
    config.loadFromFile(path);
    const options: { headers?: Record<string, string | undefined> } = {};
    await config.applyToHTTPSOptions(options);
    const token = options.headers?.["Authorization"]?.replace(/^Bearer /, "");
    return { token, namespace: config.getContextObject(config.getCurrentContext())?.namespace };
  } catch (error) {
    throw new UsageError(
      `kubeconfig ${path} cannot be used: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** All pages of sums. */
export async function askSums(url: URL, flags: Question, env: UsageIO["env"]): Promise<GroupedUsage> {
  const answer = await answererOf(flags, env);
  const groups: UsageGroup[] = [];
  for (;;) {
    const { next, ...page } = await answer(url, groupedUsage);
    groups.push(...page.groups);
    if (next === undefined) return { ...page, groups };
    url.searchParams.set("cursor", next);
  }
}
