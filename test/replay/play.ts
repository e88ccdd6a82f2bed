/** Replays a history pass by pass, with what befalls the operator at each; the bytes that are left are those of the ledger. */
import assert from "node:assert/strict";

import { windowAt } from "../../operator/plan/metering/windows.ts";
import type { ManifestSigner } from "../../operator/ports.ts";
import { newChance } from "../chaos/random.ts";
import type { S3Server } from "../cluster/s3.ts";
import { dump } from "../controllers/sealerrig.ts";
import { newManualClock } from "../runtime/manualclock.ts";
import type { Change } from "./changes.ts";
import { beginLife, ledgerAt } from "./life.ts";
import type { Life, Scene } from "./life.ts";
import { newInterleaving, newSleeper } from "./turns.ts";
import { newWorld } from "./world.ts";

/** What befalls one pass. Steps are counted from 1 within it; beyond its last one nothing happens. */
export type Fate =
  | { readonly kind: "calm" }
  /** Another process, with nothing in its memory. */
  | { readonly kind: "restarted" }
  /** Nobody runs: the next pass has more to do. */
  | { readonly kind: "down" }
  | { readonly kind: "killed"; readonly step: number; readonly effect: boolean }
  | { readonly kind: "unheard"; readonly steps: readonly number[] }
  /** Two leaders, their steps mixed by the seed. */
  | { readonly kind: "doubled"; readonly seed: number }
  /** A leader falls asleep; another one does its pass and the next; then the first wakes up and goes on. */
  | { readonly kind: "asleep"; readonly step: number };

export interface Played {
  readonly history: readonly Change[];
  readonly s3: S3Server;
  readonly signer: ManifestSigner;
  readonly windowSeconds: number;
  readonly graceSeconds: number;
  readonly shards?: number;
}

export interface Replay {
  readonly place: string;
  /** Key → uncompressed bytes. */
  readonly ledger: Readonly<Record<string, string>>;
  /** Of the first process. */
  readonly steps: number;
  /** How often it came to what was to befall. */
  readonly struck: number;
}

let places = 0;

/** Ends of windows, in seconds, from the first change's to the first that ends after the last one. */
function windowEnds({ history, windowSeconds }: Played): number[] {
  const [first = 0, last = 0] = [history[0], history.at(-1)].map((one) => Date.parse(one?.at ?? "") / 1000);
  const end = windowAt(last, windowSeconds).end;
  const ends: number[] = [];
  for (let at = windowAt(first, windowSeconds).end; at <= end; at += windowSeconds) ends.push(at);
  return ends;
}

export interface Disturbance {
  readonly fates?: readonly Fate[];
  /** Of the first process, over all passes. */
  readonly doom?: { readonly step: number; readonly effect: boolean };
  readonly deaf?: readonly number[];
  /** Replays over what is there already. */
  readonly place?: string;
}

/** The ledger that a history leaves in a place of its own. */
export async function play(played: Played, disturbance: Disturbance = {}): Promise<Replay> {
  const { history, windowSeconds, graceSeconds, shards = 2, signer, s3 } = played;
  const place = disturbance.place ?? `run-${String(places++)}`;
  const ends = windowEnds(played);
  const clock = newManualClock((ends[0] ?? 0) * 1000);
  const scene = { s3, place, signer, shards, windowSeconds, graceSeconds, clock, world: newWorld(history) };
  const cast = new Cast(scene, disturbance);
  try {
    for (const [index, end] of ends.entries()) {
      const nowMs = (end + graceSeconds + 1) * 1000;
      clock.advance(nowMs - clock.now());
      scene.world.advance(nowMs);
      await cast.pass(disturbance.fates?.[index] ?? { kind: "calm" });
    }
    const counts = await cast.finish();
    return { ...counts, place, ledger: await dump(ledgerAt(scene)) };
  } finally {
    await cast.end();
  }
}

/** Whoever runs at the moment, and whoever sleeps. */
class Cast {
  readonly #scene: Scene;
  readonly #disturbance: Disturbance;
  readonly #lives: Life[] = [];
  #current: Life | undefined;
  #sleeping: { readonly wake: () => void; readonly pass: Promise<unknown> } | undefined;
  #struck = 0;

  constructor(scene: Scene, disturbance: Disturbance) {
    this.#scene = scene;
    this.#disturbance = disturbance;
  }

  async #begin(turn?: Parameters<typeof beginLife>[1]): Promise<Life> {
    const life = await beginLife(this.#scene, turn);
    const { doom, deaf } = this.#disturbance;
    if (this.#lives.length === 0 && doom) life.doom(doom.step, doom.effect);
    if (this.#lives.length === 0 && deaf) life.deafen(deaf);
    this.#lives.push(life);
    return life;
  }

  async pass(fate: Fate): Promise<void> {
    const sleeping = this.#sleeping;
    if (fate.kind === "down") {
      this.#current = undefined;
      this.#struck += 1;
      return;
    }
    await this.#befall(fate);
    if (!sleeping) return;
    sleeping.wake();
    // It lost the lead long ago: whether its pass ends well is nobody's business.
    await sleeping.pass.catch(() => undefined);
    if (this.#sleeping === sleeping) this.#sleeping = undefined;
  }

  async #befall(fate: Fate): Promise<void> {
    if (fate.kind === "doubled") return this.#doubled(fate.seed);
    if (fate.kind === "asleep" && !this.#sleeping) return this.#asleep(fate.step);
    if (fate.kind === "restarted") this.#current = undefined;
    const life = (this.#current ??= await this.#begin());
    const before = life.unheard;
    if (fate.kind === "killed") life.doom(fate.step, fate.effect);
    if (fate.kind === "unheard") life.deafen(fate.steps);
    if (await this.#isKilled(life)) return;
    if (life.unheard > before) this.#struck += 1;
  }

  /** Passes until one gets through, as the loop repeats it; after a death by the next process. */
  async #isKilled(life: Life): Promise<boolean> {
    for (let tries = 1; ; tries++) {
      try {
        if ((await life.pass()) === "done") return false;
        this.#struck += 1;
        this.#current = await this.#begin();
        assert.equal(await this.#current.pass(), "done");
        return true;
      } catch (error) {
        if (tries === 4) throw error;
      }
    }
  }

  async #doubled(seed: number): Promise<void> {
    const mixed = newInterleaving(2, newChance(seed));
    const lives = [await this.#begin(mixed.turns[0]), await this.#begin(mixed.turns[1])];
    const ended = await Promise.allSettled(lives.map((life, leader) => life.pass().finally(() => mixed.end(leader))));
    // One may be refused where the head in the cluster is the other's; it would try again.
    assert.ok(ended.some(({ status }) => status === "fulfilled"));
    this.#struck += 1;
    this.#current = lives[0];
    await this.#current?.pass();
  }

  async #asleep(step: number): Promise<void> {
    const sleeper = newSleeper(step);
    const first = await this.#begin(sleeper.turn);
    const pass = first.pass();
    pass.catch(() => undefined);
    const isAsleep = (await Promise.race([sleeper.asleep, pass])) === "asleep";
    this.#current = isAsleep ? await this.#begin() : first;
    // Its pass was over before that step: it stays awake in the next ones.
    if (!isAsleep) return sleeper.wake();
    this.#struck += 1;
    this.#sleeping = { wake: sleeper.wake, pass };
    await this.#current.pass();
  }

  /** A last process, alone, does what is left to do. */
  async finish(): Promise<{ readonly steps: number; readonly struck: number }> {
    const steps = this.#lives[0]?.steps ?? 0;
    this.#sleeping?.wake();
    await this.#sleeping?.pass.catch(() => undefined);
    const last = await this.#begin();
    await last.pass();
    for (const life of this.#lives) assert.equal(await life.conflicts(), 0, "equal knowledge gives equal bytes");
    return { steps, struck: this.#struck };
  }

  async end(): Promise<void> {
    this.#sleeping?.wake();
    for (const life of this.#lives) await life.end();
  }
}
