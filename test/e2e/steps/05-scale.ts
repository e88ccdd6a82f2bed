// One replica more and one less under requests: none fails, and a stream of a minute outlives its pod's order to end.
import { eventually } from "../../cluster/eventually.ts";
import { chat, models } from "../names.ts";
import { ensureServing, podUrl, scale, serviceUrl, servingPods, untilPods, untilReady } from "../objects.ts";
import { noneFailed, startTraffic, stream } from "../requests.ts";
import type { StreamEnd } from "../requests.ts";
import type { Stage } from "../stage.ts";
import { chatContext } from "./03-serve.ts";

const STREAM_SECONDS = 60;
/** One to each replica by its own address, so that the one that goes is among them, and as many through the Service. */
const STREAMS = 4;

/** Room for what the short streams that were timed could not show: a machine that has less to do a minute later, too. */
const MARGIN = 1.6;

/** Tokens each second, from its first one on, of the fastest of as many streams as will run: none of these is over before it. */
async function fastestRate(urls: readonly string[]): Promise<number> {
  const timed = urls.map(async (url) => {
    let firstAt = 0;
    const { completionTokens } = await stream(url, chat, { maxTokens: 600, onPiece: () => (firstAt ||= Date.now()) });
    return (completionTokens * 1000) / (Date.now() - firstAt);
  });
  return Math.max(...(await Promise.all(timed)));
}

export async function scaleUpAndDown(stage: Stage): Promise<void> {
  const { tour } = stage;
  await ensureServing(stage, chat, { model: models.llama, contextLength: chatContext });
  const url = await serviceUrl(stage, chat);
  const traffic = startTraffic(url, chat);
  await scale(stage, chat, 2);
  const both = await untilPods(stage, chat, 2);
  await untilReady(stage, chat);
  tour.say(`1 -> 2 replicas, on ${both.map(({ spec }) => spec.nodeName).join(" and ")}`);
  const urls = [url, url, ...(await Promise.all(both.map((pod) => podUrl(stage, pod, 8000))))];
  const rate = await fastestRate(urls);
  const maxTokens = Math.min(chatContext - 1000, Math.ceil(rate * STREAM_SECONDS * MARGIN));
  const startedAt = Date.now();
  const ends = streamsOver(urls, maxTokens);
  await ends.nearTheirEnd;
  await scale(stage, chat, 1);
  tour.say(`2 -> 1 replica, with ${String(STREAMS)} streams of ${String(maxTokens)} tokens in flight`);
  const leaving = await untilOneLeaves(stage);
  const toldAt = Date.now();
  const whole = await ends.all;
  // Its own stream, by the pod's address, was in flight when the pod was told to end.
  const own = whole[urls.length - both.length + both.findIndex(({ metadata }) => metadata.name === leaving)];
  if (!own || startedAt + own.ms <= toldAt) throw new Error(`no stream of ${leaving} was in flight when it had to end`);
  const shortest = wholeMinutes(whole, maxTokens);
  await untilPods(stage, chat, 1);
  await untilReady(stage, chat);
  const report = await traffic.stop();
  noneFailed(report, "while scaling");
  tour.say(
    `all ${String(STREAMS)} streams ended whole, the shortest after ${seconds(shortest)} s; ${leaving} was told to end ${seconds(toldAt - startedAt)} s after their start, and its own went on to ${seconds(own.ms)} s`,
  );
  tour.say(
    `${String(report.sent)} requests beside them, none failed, at most ${String(report.longestGapMs)} ms between two answers`,
  );
}

const seconds = (ms: number): string => (ms / 1000).toFixed(0);

/** Every one to its last token, and none shorter than a minute, whichever pod it was on; the time of the shortest. */
function wholeMinutes(ends: readonly StreamEnd[], maxTokens: number): number {
  const broken = ends.find(({ whole, completionTokens }) => !whole || completionTokens !== maxTokens);
  if (broken) throw new Error(`a stream did not end whole: ${JSON.stringify(broken)}`);
  const shortest = Math.min(...ends.map(({ ms }) => ms));
  if (shortest < STREAM_SECONDS * 1000)
    throw new Error(`a stream of ${String(maxTokens)} tokens took ${String(shortest)} ms: no minute`);
  return shortest;
}

async function untilOneLeaves(stage: Stage): Promise<string> {
  const leaving = async () => (await servingPods(stage, chat)).find(({ metadata }) => metadata.deletionTimestamp);
  const { metadata } = await eventually(leaving, {
    what: "a pod is told to end after the scale-down",
    deadlineMs: 30_000,
    recheckMs: 200,
  });
  return metadata.name;
}

/** From the order to end on, a stream has this long by its speed so far; the pod's drain allows several times as much. */
const REMAINING_SECONDS = 40;

interface Streams {
  /** The fastest has no more than REMAINING_SECONDS to go, and none has ended. */
  readonly nearTheirEnd: Promise<unknown>;
  readonly all: Promise<StreamEnd[]>;
}

function streamsOver(urls: readonly string[], maxTokens: number): Streams {
  const pieces = urls.map(() => 0);
  const startedAt = Date.now();
  const all = Promise.all(
    urls.map((url, index) => stream(url, chat, { maxTokens, onPiece: (count) => (pieces[index] = count) })),
  );
  let over = false;
  void all.catch(() => undefined).finally(() => (over = true));
  const areNear = (): boolean => {
    const most = Math.max(...pieces);
    const rate = most / ((Date.now() - startedAt) / 1000);
    const begun = pieces.every((count) => count > 0);
    return over || (begun && (maxTokens - most) / rate < REMAINING_SECONDS);
  };
  const nearTheirEnd = eventually(areNear, {
    what: "the streams are near their end",
    deadlineMs: 10 * STREAM_SECONDS * 1000,
    recheckMs: 500,
  });
  return { nearTheirEnd, all };
}
