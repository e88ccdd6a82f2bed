// Requests to vLLM as a user's program sends them. Each opens a connection of its own: a connection that is kept open stays
// with one pod, and a server that ends can only be left by a client that looks again (docs/testing.md).
import { request } from "node:http";
import type { IncomingMessage } from "node:http";

const AGENT = { agent: false, headers: { connection: "close", "content-type": "application/json" } } as const;

function send(url: string, body: object | undefined, timeoutMs: number): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const wanted = request(url, { ...AGENT, method: body ? "POST" : "GET", timeout: timeoutMs }, resolve);
    wanted.once("timeout", () => wanted.destroy(new Error(`no answer within ${String(timeoutMs)} ms`)));
    wanted.once("error", reject);
    wanted.end(body ? JSON.stringify(body) : undefined);
  });
}

async function textOf(response: IncomingMessage): Promise<string> {
  response.setEncoding("utf8");
  let text = "";
  for await (const chunk of response) text += String(chunk);
  return text;
}

/** The answer's text; throws where the status is no 2xx or the connection breaks. */
export async function ask(url: string, body?: object, timeoutMs = 30_000): Promise<string> {
  const response = await send(url, body, timeoutMs);
  const text = await textOf(response);
  const status = response.statusCode ?? 0;
  if (status < 200 || status > 299) throw new Error(`${url} answers ${String(status)}: ${text.slice(0, 300)}`);
  return text;
}

interface EmbeddingAnswer {
  readonly data: readonly { readonly embedding: readonly number[] }[];
}

export async function embedding(base: string, model: string, input: string): Promise<readonly number[]> {
  const text = await ask(`${base}/v1/embeddings`, { model, input });
  return (JSON.parse(text) as EmbeddingAnswer).data[0]?.embedding ?? [];
}

export function cosine(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]): number =>
    x.reduce((sum, value, i) => sum + value * (y[i] ?? 0), 0);
  return a.length === b.length && a.length > 0 ? dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)) : 0;
}

interface ChatAnswer {
  readonly choices: readonly { readonly message: { readonly content: string | null } }[];
}

/** What a chat answers where nothing is left to chance: another model's answer is another. */
export async function greedyAnswer(base: string, model: string): Promise<string> {
  const body = { model, temperature: 0, max_tokens: 8, messages: [{ role: "user", content: "hello" }] };
  const text = await ask(`${base}/v1/chat/completions`, body);
  const content = (JSON.parse(text) as ChatAnswer).choices[0]?.message.content;
  if (!content) throw new Error(`${base} answers without a word: ${text.slice(0, 300)}`);
  return content;
}

export interface StreamEnd {
  /** Pieces of text that came. */
  readonly pieces: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** The stream said itself that it is over. */
  readonly whole: boolean;
  readonly ms: number;
}

interface Piece {
  readonly choices?: readonly { readonly delta?: { readonly content?: string } }[];
  readonly usage?: { readonly prompt_tokens: number; readonly completion_tokens: number };
}

export interface StreamOptions {
  readonly prompt?: string;
  readonly maxTokens: number;
  /** Called with the number of pieces so far. */
  readonly onPiece?: (pieces: number) => void;
}

/** A chat answer as a stream of exactly `maxTokens` tokens; throws where the connection breaks before its end. */
export async function stream(base: string, model: string, options: StreamOptions): Promise<StreamEnd> {
  const { maxTokens, prompt = "hello", onPiece } = options;
  const startedAt = Date.now();
  const response = await send(
    `${base}/v1/chat/completions`,
    {
      model,
      stream: true,
      stream_options: { include_usage: true },
      ignore_eos: true,
      max_tokens: maxTokens,
      messages: [{ role: "user", content: prompt }],
    },
    120_000,
  );
  if (response.statusCode !== 200)
    throw new Error(`${String(response.statusCode)}: ${(await textOf(response)).slice(0, 300)}`);
  response.setEncoding("utf8");
  let rest = "";
  let pieces = 0;
  let whole = false;
  let usage: Piece["usage"];
  for await (const chunk of response) {
    const lines = (rest + String(chunk)).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines.filter((one) => one.startsWith("data: "))) {
      if (line === "data: [DONE]") whole = true;
      else {
        const piece = JSON.parse(line.slice(6)) as Piece;
        usage = piece.usage ?? usage;
        if (piece.choices?.[0]?.delta?.content) pieces++;
        if (pieces > 0) onPiece?.(pieces);
      }
    }
  }
  const { prompt_tokens: promptTokens = 0, completion_tokens: completionTokens = 0 } = usage ?? {};
  return { pieces, promptTokens, completionTokens, whole, ms: Date.now() - startedAt };
}

export interface Failure {
  readonly at: number;
  readonly words: string;
}

export interface TrafficReport {
  readonly sent: number;
  readonly failures: readonly Failure[];
  /** Longest time between two answers, in milliseconds. */
  readonly longestGapMs: number;
}

export interface Traffic {
  /** Sends nothing more, and waits for what is under way. */
  stop(): Promise<TrafficReport>;
  /** So far. */
  now(): TrafficReport;
}

/** Askers side by side: a slow machine then answers fewer requests, and none waits behind a queue of ours. */
export const ASKERS = 3;

/** Short chat requests: each asker sends its next one `pauseMs` after the answer to the last. */
export function startTraffic(base: string, model: string, pauseMs = 500): Traffic {
  const failures: Failure[] = [];
  let sent = 0;
  let lastAnswer = Date.now();
  let longestGapMs = 0;
  let stopping = false;
  const one = async (): Promise<void> => {
    const at = Date.now();
    const body = { model, max_tokens: 2, messages: [{ role: "user", content: "hello" }] };
    sent++;
    try {
      await ask(`${base}/v1/chat/completions`, body, 120_000);
      longestGapMs = Math.max(longestGapMs, Date.now() - lastAnswer);
      lastAnswer = Date.now();
    } catch (error) {
      const { message, code } = error as Error & { code?: string };
      failures.push({ at, words: message || code || "the connection broke" });
    }
  };
  const asker = async (): Promise<void> => {
    while (!stopping) {
      await one();
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  };
  const askers = Array.from({ length: ASKERS }, asker);
  const now = (): TrafficReport => ({
    sent,
    failures: [...failures],
    longestGapMs: Math.max(longestGapMs, Date.now() - lastAnswer),
  });
  return {
    now,
    async stop() {
      stopping = true;
      const report = now();
      await Promise.all(askers);
      return { ...now(), longestGapMs: report.longestGapMs };
    },
  };
}

/** Throws where a request failed. */
export function noneFailed({ sent, failures }: TrafficReport, what: string): void {
  const [first] = failures;
  if (first === undefined && sent > 0) return;
  const words = first ? `the first at ${new Date(first.at).toISOString()}: ${first.words}` : "none was sent";
  throw new Error(`${what}: ${String(failures.length)} of ${String(sent)} requests failed, ${words}`);
}
