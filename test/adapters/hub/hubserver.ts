/**
 * A small local hub over a real folder: the endpoints of a Hugging Face-compatible hub that Berth reads. It plays the hub;
 * files, ranges and redirects are real.
 */
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const TOKEN = "hf_test_token";

export interface Hub {
  readonly url: string;
  /** Method, path and whether a token came with it, in order. */
  readonly asked: { readonly path: string; readonly authorized: boolean; readonly host: string }[];
}

export interface HubOptions {
  readonly folder: string;
  readonly repo: string;
  /** Only with the token. */
  readonly gated?: boolean;
  /** Entries of one page of the tree. */
  readonly pageSize?: number;
  /** Origin that files are served from, as a content network. */
  readonly redirectTo?: string;
  /** What goes wrong; may be changed while the hub runs. */
  readonly faults?: Faults;
}

export interface Faults {
  /** Bytes of a file after which the connection ends. */
  cutAfterBytes?: number;
  /** Commit that the hub says a file is of. */
  answeredCommit?: string;
  /** What main stands for. */
  commit?: string;
  /** Status and words for every request. */
  refuse?: { readonly status: number; readonly body: string };
  /** The last byte of weights is not the file's own. */
  flipLastByte?: boolean;
}

export async function startHub(t: TestContext, options: HubOptions): Promise<Hub> {
  const asked: Hub["asked"] = [];
  const server = createServer((request, response) => {
    const authorized = request.headers.authorization === `Bearer ${TOKEN}`;
    asked.push({
      path: request.url ?? "",
      authorized: request.headers.authorization !== undefined,
      host: request.headers.host ?? "",
    });
    answer(options, request, response, authorized);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`, asked };
}

function answer(options: HubOptions, request: IncomingMessage, response: ServerResponse, authorized: boolean): void {
  const url = new URL(request.url ?? "/", "http://hub.invalid");
  const { repo, gated } = options;
  const path = decodeURIComponent(url.pathname);
  if (gated && !authorized && !path.startsWith("/cdn/"))
    return refuse(response, 401, "GatedRepo", `Access to model ${repo} is restricted. You must have access to it.`);
  const { refuse: refused, commit = COMMIT } = options.faults ?? {};
  if (refused)
    return void response
      .writeHead(refused.status, { "content-type": "application/json" })
      .end(JSON.stringify({ error: refused.body }));
  const revision = path.split(`/api/models/${repo}/revision/`)[1];
  if (revision === "main" || revision === commit) return sendJson(response, { id: repo, sha: commit });
  if (revision !== undefined) return refuse(response, 404, "RevisionNotFound", `Invalid rev id: ${revision}`);
  if (path === `/api/models/${repo}/tree/${commit}`) return tree(options, url, response);
  const file = path.split(`/${repo}/resolve/${commit}/`)[1] ?? path.split("/cdn/")[1];
  if (file === undefined) return refuse(response, 404, "RepoNotFound", "Repository not found");
  return sendOrRedirect(options, file, request, response);
}

/** The hub's own answer names commit and ETag; where there is a content network, it redirects there. */
function sendOrRedirect(options: HubOptions, file: string, request: IncomingMessage, response: ServerResponse): void {
  const { folder, redirectTo, faults } = options;
  const isHub = !(request.url ?? "").startsWith("/cdn/");
  if (isHub) response.setHeader("x-repo-commit", faults?.answeredCommit ?? faults?.commit ?? COMMIT);
  if (isHub && redirectTo !== undefined)
    return void response.writeHead(302, { location: `${redirectTo}/cdn/${file}` }).end();
  return sendFile(join(folder, file), request, response, faults);
}

function tree({ folder, pageSize = 1000 }: HubOptions, url: URL, response: ServerResponse): void {
  const names = filesBelow(folder);
  const from = Number(url.searchParams.get("cursor") ?? 0);
  const entries = names.slice(from, from + pageSize).map((path) => {
    const bytes = readFileSync(join(folder, path));
    const size = bytes.length;
    const blob = createHash("sha1")
      .update(`blob ${String(size)}\0`)
      .update(bytes)
      .digest("hex");
    const oid = createHash("sha256").update(bytes).digest("hex");
    return path.endsWith(".safetensors")
      ? { type: "file", oid: blob, size: 135, path, lfs: { oid, size, pointerSize: 135 } }
      : { type: "file", oid: blob, size, path };
  });
  const next = from + pageSize;
  if (next < names.length) {
    url.searchParams.set("cursor", String(next));
    response.setHeader("link", `<${url.pathname}${url.search}>; rel="next"`);
  }
  sendJson(response, [{ type: "directory", oid: "x", size: 0, path: "onnx" }, ...entries]);
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((path) => statSync(join(folder, path)).isFile())
    .sort();
}

function sendFile(
  path: string,
  { headers }: IncomingMessage,
  response: ServerResponse,
  faults: Faults | undefined,
): void {
  const bytes = readFileSync(path);
  if (faults?.flipLastByte === true && path.endsWith(".safetensors")) bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  const range = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "");
  const [start, end] = range ? [Number(range[1]), Number(range[2]) + 1] : [0, bytes.length];
  const part = bytes.subarray(start, end);
  const span = `bytes ${String(start)}-${String(start + part.length - 1)}/${String(bytes.length)}`;
  response.writeHead(range ? 206 : 200, {
    "content-length": part.length,
    ...(range ? { "content-range": span } : {}),
  });
  if (faults?.cutAfterBytes === undefined) return void response.end(part);
  response.write(part.subarray(0, faults.cutAfterBytes), () => response.destroy());
}

function sendJson(response: ServerResponse, body: unknown): void {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
}

function refuse(response: ServerResponse, status: number, code: string, words: string): void {
  response.writeHead(status, { "x-error-code": code, "x-error-message": words }).end();
}
