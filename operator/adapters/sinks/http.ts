/**
 * Sinks over HTTP. 2xx: accepted. 400, 413, 422: these records are refused for good. 409 to a single record: the receiver has it.
 * Everything else is the sink's own trouble and is repeated, 401 and 404 too: no record is at fault there.
 */
import { createHash, createHmac } from "node:crypto";
import { readFile } from "node:fs/promises";

import type { UsageRecord } from "../../api/ledger.ts";
import type { SinkAnswer, SinkTarget, SinkWindow } from "../../ports.ts";
import { RetryError, messageOf } from "../../runtime/errors.ts";

export interface HttpSink {
  readonly name: string;
  readonly url: string;
  readonly timeoutSeconds: number;
  readonly contentType: string;
  readonly body: (records: readonly UsageRecord[], window: SinkWindow) => string;
  /** Headers that need the body or a file, asked for each delivery so that a rotated secret is taken up. */
  readonly headers: (body: string, records: readonly UsageRecord[]) => Promise<Record<string, string>>;
}

const refusing = [400, 413, 422];
const longestWords = 400;

export function newHttpSink(sink: HttpSink): SinkTarget<UsageRecord> {
  const closing = new AbortController();
  return {
    async deliver(records, window) {
      const body = sink.body(records, window);
      const headers = { "content-type": sink.contentType, ...(await sink.headers(body, records)) };
      const signal = AbortSignal.any([closing.signal, AbortSignal.timeout(sink.timeoutSeconds * 1000)]);
      try {
        const response = await fetch(sink.url, { method: "POST", body, headers, redirect: "manual", signal });
        return answerOf(sink, response.status, await wordsOf(response), records.length);
      } catch (error) {
        if (error instanceof RetryError) throw error;
        const why = error instanceof Error && error.cause instanceof Error ? error.cause.message : messageOf(error);
        throw new RetryError(new Error(`sink ${sink.name} did not answer: ${why}`, { cause: error }));
      }
    },
    close: () => closing.abort(),
  };
}

function answerOf({ name }: HttpSink, status: number, words: string, records: number): SinkAnswer {
  if (status >= 200 && status < 300) return { accepted: true };
  if (status === 409) return records === 1 ? { accepted: true } : { accepted: false, refused: `409 ${words}` };
  if (refusing.includes(status)) return { accepted: false, refused: `${String(status)} ${words}`.trim() };
  throw new RetryError(new Error(`sink ${name} answered ${String(status)} ${words}`.trim()));
}

/** The begin of an answer, on one line. */
async function wordsOf(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  if (!reader) return "";
  const parts: Uint8Array[] = [];
  let size = 0;
  while (size < longestWords) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    size += value.byteLength;
  }
  await reader.cancel();
  return Buffer.concat(parts).toString().slice(0, longestWords).replace(/\s+/g, " ").trim();
}

/** `Authorization: Bearer …` from a file; none without a file. */
export function bearer(tokenFile: string | undefined): HttpSink["headers"] {
  return async (): Promise<Record<string, string>> =>
    tokenFile === undefined ? {} : { authorization: `Bearer ${await secretOf(tokenFile)}` };
}

/**
 * Headers of the specification Standard Webhooks 1.0: id, timestamp, and HMAC-SHA256 over "id.timestamp.body" in base64. A secret is
 * `whsec_` and base64, or plain text; with several (one a line) each signs, so that a receiver may change at its own time.
 */
export function signed(secretFile: string, now: () => number): HttpSink["headers"] {
  return async (body, records) => {
    const ids = createHash("sha256").update(records.map(({ id }) => id).join("\n"));
    const id = `msg_${ids.digest("hex").slice(0, 40)}`;
    const timestamp = String(Math.floor(now() / 1000));
    const secrets = (await secretOf(secretFile)).split(/\s+/);
    const signatures = secrets.map((secret) => `v1,${hmac(secret, `${id}.${timestamp}.${body}`)}`);
    return { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures.join(" ") };
  };
}

function hmac(secret: string, text: string): string {
  const key = secret.startsWith("whsec_") ? Buffer.from(secret.slice(6), "base64") : Buffer.from(secret);
  return createHmac("sha256", key).update(text).digest("base64");
}

async function secretOf(path: string): Promise<string> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw new RetryError(new Error(`${path} cannot be read: ${messageOf(error)}; mount the sink's Secret`));
  });
  if (text.trim() === "") throw new RetryError(new Error(`${path} is empty: put the sink's secret there`));
  return text.trim();
}
