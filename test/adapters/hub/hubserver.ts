/**
 * A small local hub over a real folder: the endpoints of a Hugging Face-compatible hub that Berth reads. It plays the hub;
 * files, ranges and redirects are real.
 */
import { createReadStream, readdirSync, statSync } from "node:fs";
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
  if (path === `/api/models/${repo}/revision/main` || path === `/api/models/${repo}/revision/${COMMIT}`)
    return sendJson(response, { id: repo, sha: COMMIT });
  if (path === `/api/models/${repo}/tree/${COMMIT}`) return tree(options, url, response);
  const file = path.split(`/${repo}/resolve/${COMMIT}/`)[1] ?? path.split("/cdn/")[1];
  if (file === undefined) return refuse(response, 404, "RepoNotFound", "Repository not found");
  if (options.redirectTo !== undefined && !path.startsWith("/cdn/"))
    return void response.writeHead(302, { location: `${options.redirectTo}/cdn/${file}` }).end();
  return sendFile(join(options.folder, file), request, response);
}

function tree({ folder, pageSize = 1000 }: HubOptions, url: URL, response: ServerResponse): void {
  const names = readdirSync(folder).sort();
  const from = Number(url.searchParams.get("cursor") ?? 0);
  const entries = names.slice(from, from + pageSize).map((path) => {
    const { size } = statSync(join(folder, path));
    const oid = `oid-${path}`;
    return path.endsWith(".safetensors")
      ? { type: "file", oid, size: 135, path, lfs: { oid: `sha256-${path}`, size, pointerSize: 135 } }
      : { type: "file", oid, size, path };
  });
  const next = from + pageSize;
  if (next < names.length) {
    url.searchParams.set("cursor", String(next));
    response.setHeader("link", `<${url.pathname}${url.search}>; rel="next"`);
  }
  sendJson(response, [{ type: "directory", oid: "x", size: 0, path: "onnx" }, ...entries]);
}

function sendFile(path: string, { headers }: IncomingMessage, response: ServerResponse): void {
  const { size } = statSync(path);
  const range = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "");
  if (!range) return void createReadStream(path).pipe(response.writeHead(200, { "content-length": size }));
  const [start, end] = [Number(range[1]), Math.min(Number(range[2]), size - 1)];
  response.writeHead(206, { "content-range": `bytes ${String(start)}-${String(end)}/${String(size)}` });
  createReadStream(path, { start, end }).pipe(response);
}

function sendJson(response: ServerResponse, body: unknown): void {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
}

function refuse(response: ServerResponse, status: number, code: string, words: string): void {
  response.writeHead(status, { "x-error-code": code, "x-error-message": words }).end();
}
