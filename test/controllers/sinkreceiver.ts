/**
 * A receiver of usage as a process of its own: keeps each id once, as OpenMeter does, and misbehaves when it is told to.
 * `POST /events` receives, `POST /behave` tells, `GET /seen` shows. Prints its port.
 */
import { createServer } from "node:http";
import type { IncomingMessage } from "node:http";

interface Behaviour {
  /** Ids that are refused for ever. */
  readonly refuse?: readonly string[];
  /** Acknowledge and forget. */
  readonly forget?: boolean;
  /** Keep what comes and never answer. */
  readonly silent?: boolean;
  readonly status?: number;
}

let behaviour: Behaviour = {};
const kept = new Map<string, number>();
const requests: { readonly headers: object; readonly ids: readonly string[]; readonly body: string }[] = [];

async function textOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}

function receive(
  headers: IncomingMessage["headers"],
  body: string,
): { readonly status: number; readonly words: string } | undefined {
  const parsed = JSON.parse(body) as { id: string }[] | { events: { id: string }[] };
  const events = Array.isArray(parsed) ? parsed : parsed.events;
  requests.push({ headers, ids: events.map(({ id }) => id), body });
  const known = ["application/cloudevents-batch+json", "application/json"];
  if (!known.includes(headers["content-type"] ?? "")) return { status: 415, words: "content type" };
  if (behaviour.status !== undefined) return { status: behaviour.status, words: "not now" };
  const wrong = events.find(({ id }) => behaviour.refuse?.includes(id));
  if (wrong) return { status: 400, words: "unknown meter\nfor this event" };
  if (!behaviour.forget) for (const { id } of events) kept.set(id, (kept.get(id) ?? 0) + 1);
  return behaviour.silent ? undefined : { status: 204, words: "" };
}

const server = createServer((request, response) => {
  textOf(request).then(
    (body) => {
      if (request.url === "/seen") return void response.end(JSON.stringify({ kept: [...kept], requests }));
      if (request.url === "/behave") {
        behaviour = JSON.parse(body) as Behaviour;
        return void response.end();
      }
      const answer = receive(request.headers, body);
      if (answer) response.writeHead(answer.status).end(answer.words);
    },
    () => response.destroy(),
  );
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  process.stdout.write(`${String(typeof address === "object" ? address?.port : "")}\n`);
});
