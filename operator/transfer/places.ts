/**
 * Memory for parts, shared by all imports of a process: a fixed number of buffers, each for one part from its request until it is in
 * the store. Half of it is divided among them, so that none waits for another whose source sleeps; the rest is whoever asks first.
 * How many of them an import uses at once follows its own pace (plan/model/pace.ts). Bytes a second may be limited besides.
 */
import { firstPace, nextPace } from "../plan/model/pace.ts";
import type { Pace } from "../plan/model/pace.ts";
import type { Clock } from "../ports.ts";
import { pause } from "../runtime/clock.ts";
import { abortError } from "./slots.ts";

export const PART_BYTES = 16 << 20;
/** What is not larger needs little memory, but is a request as well: it counts as an eighth of a part. */
const SMALL_BYTES = 256 << 10;
const SMALL_UNITS = 1 / 8;
const WINDOW_MS = 1_000;
const WASM_PAGE_BYTES = 64 << 10;

export interface PlaceOptions {
  readonly clock: Clock;
  /** Bytes of all buffers together; at least one part's. */
  readonly bufferBytes: number;
  /** Bytes a second that are asked of sources; unlimited where absent. */
  readonly maxBytesPerSecond?: number | undefined;
  /** Bytes of one buffer: PART_BYTES where absent. */
  readonly partBytes?: number;
  /** Imports that copy at once: 1 where absent. */
  readonly imports?: number;
}

/** Memory for one part. It is shared memory, so that threads can hash it. */
export interface PartPlace {
  readonly buffer: Uint8Array;
  /** Call once nothing reads or writes the buffer any more. */
  release(): void;
}

export interface PartPlaces {
  readonly partBytes: number;
  /** Memory for `lengthBytes`, in the order of the calls; several buffers' worth where one part is larger than a buffer. */
  take(lengthBytes: number, signal?: AbortSignal): Promise<PartPlace>;
  /** Waits until `lengthBytes` more may be asked for. */
  allow(lengthBytes: number, signal?: AbortSignal): Promise<void>;
  /** Bytes that came. */
  came(bytes: number): void;
  /** A server asked for fewer requests. */
  slowDown(): void;
  /** Parts at once, for those who want to know. */
  readonly limit: number;
  /** The places of one import: of the same memory, with a pace of its own. */
  share(): PartPlaces;
}

/** What one import has of the memory. */
interface Share {
  used: number;
  readonly meter: ReturnType<typeof newMeter>;
}

interface Waiting {
  readonly share: Share;
  readonly units: number;
  readonly enter: () => void;
}

/** Measures in windows of a second and keeps the pace. No timer: windows end when something happens. */
function newMeter(clock: Clock, mostAtOnce: number) {
  let pace: Pace = firstPace(mostAtOnce);
  let window = { sinceMs: clock.monotonicMs(), bytes: 0, wasFull: false, wasAskedToSlow: false };
  const turn = (): void => {
    const nowMs = clock.monotonicMs();
    const lastedMs = nowMs - window.sinceMs;
    if (lastedMs < WINDOW_MS) return;
    const bytesPerSecond = (window.bytes * 1000) / lastedMs;
    // What was asked has been done; what such a window brought says nothing.
    const wasFull = window.wasFull && !window.wasAskedToSlow;
    pace = nextPace(pace, { bytesPerSecond, wasFull, wasAskedToSlow: false }, mostAtOnce);
    window = { sinceMs: nowMs, bytes: 0, wasFull: false, wasAskedToSlow: false };
  };
  return {
    limit: (): number => pace.limit,
    came(bytes: number): void {
      window.bytes += bytes;
      turn();
    },
    full: (): void => void (window.wasFull = true),
    slowDown(): void {
      // At once, and once a window: all requests of a moment are refused together.
      turn();
      if (window.wasAskedToSlow) return;
      pace = nextPace(pace, { bytesPerSecond: 0, wasFull: true, wasAskedToSlow: true }, mostAtOnce);
      window = { sinceMs: clock.monotonicMs(), bytes: 0, wasFull: false, wasAskedToSlow: true };
    },
  };
}

/** Who asks later waits until what was asked before has been earned. */
function newAllowance(clock: Clock, bytesPerSecond: number | undefined) {
  let freeAtMs = 0;
  return async (bytes: number, signal?: AbortSignal): Promise<void> => {
    if (bytesPerSecond === undefined) return;
    const nowMs = clock.monotonicMs();
    const startMs = Math.max(nowMs, freeAtMs);
    freeAtMs = startMs + (bytes * 1000) / bytesPerSecond;
    if (startMs > nowMs) await pause(clock, startMs - nowMs, signal);
  };
}

/** Who may have how many of `total` buffers. */
function newRoom(total: number, imports: number) {
  const own = Math.floor(total / (2 * imports));
  const common = total - own * imports;
  let used = 0;
  let borrowed = 0;
  const overOwn = (units: number): number => Math.max(0, units - own);
  const change = (share: Share, units: number): void => {
    borrowed += overOwn(share.used + units) - overOwn(share.used);
    share.used += units;
    used += units;
  };
  return {
    /** The most that one part may have, whatever the others hold. */
    most: total - own * (imports - 1),
    isPaced: (share: Share, units: number): boolean =>
      share.used > 0 && share.used + units > Math.min(total, share.meter.limit()),
    /** `isAfter`: somebody waits for what is common, and was first. */
    has(share: Share, units: number, isAfter: boolean): boolean {
      if (used === 0) return true;
      if (used + units > total) return false;
      const more = overOwn(share.used + units) - overOwn(share.used);
      return more === 0 || (!isAfter && borrowed + more <= common);
    },
    enter: change,
    leave: (share: Share, units: number): void => change(share, -units),
  };
}

export function newPartPlaces(options: PlaceOptions): PartPlaces {
  const { clock, partBytes = PART_BYTES, maxBytesPerSecond, imports = 1 } = options;
  const total = Math.max(1, Math.floor(options.bufferBytes / partBytes));
  const room = newRoom(total, imports);
  const idle: Uint8Array[] = [];
  const idleSmall: Uint8Array[] = [];
  const waiting: Waiting[] = [];
  /** Of all buffers that there are, in use or idle. */
  let thereBytes = 0;
  /** Idle buffers of the other kind make room for one more: all together stay within the bound, but for a part that alone is larger. */
  function newWithin(bytes: number): Uint8Array {
    while (thereBytes + bytes > total * partBytes) {
      const dropped = idle.pop() ?? idleSmall.pop();
      if (!dropped) break;
      thereBytes -= dropped.length;
    }
    thereBytes += bytes;
    return newBuffer(bytes);
  }
  /** In the order of asking; who waits for its own pace holds up nobody else. */
  const admit = (): void => {
    const held = new Set<Share>();
    let isAfter = false;
    for (const next of [...waiting]) {
      const { share, units } = next;
      const isPaced = room.isPaced(share, units);
      if (!held.has(share) && !isPaced && room.has(share, units, isAfter)) {
        waiting.splice(waiting.indexOf(next), 1);
        room.enter(share, units);
        next.enter();
        continue;
      }
      if (!isPaced) isAfter = true;
      held.add(share);
      share.meter.full();
    }
  };
  function place(share: Share, units: number, lengthBytes: number): PartPlace {
    const isLarger = lengthBytes > partBytes;
    const [pool, bytes] = units < 1 ? [idleSmall, SMALL_BYTES] : [idle, partBytes];
    const whole = isLarger ? newWithin(lengthBytes) : (pool.pop() ?? newWithin(bytes));
    let isHeld = true;
    return {
      buffer: whole.subarray(0, lengthBytes),
      release() {
        if (!isHeld) return;
        isHeld = false;
        if (isLarger) thereBytes -= whole.length;
        else pool.push(whole);
        room.leave(share, units);
        admit();
      },
    };
  }
  function take(share: Share, lengthBytes: number, signal?: AbortSignal): Promise<PartPlace> {
    if (signal?.aborted) return Promise.reject(abortError());
    const isSmall = lengthBytes <= SMALL_BYTES && SMALL_BYTES <= partBytes * SMALL_UNITS;
    const units = isSmall ? SMALL_UNITS : Math.min(room.most, Math.max(1, Math.ceil(lengthBytes / partBytes)));
    const { promise, resolve, reject } = Promise.withResolvers<PartPlace>();
    const leave = (): void => {
      waiting.splice(waiting.indexOf(one), 1);
      reject(abortError());
      admit();
    };
    const one: Waiting = {
      share,
      units,
      enter: () => {
        signal?.removeEventListener("abort", leave);
        resolve(place(share, units, lengthBytes));
      },
    };
    waiting.push(one);
    signal?.addEventListener("abort", leave, { once: true });
    admit();
    return promise;
  }
  const allow = newAllowance(clock, maxBytesPerSecond);
  function newShare(): PartPlaces {
    const share: Share = { used: 0, meter: newMeter(clock, total) };
    return {
      partBytes,
      take: (lengthBytes, signal) => take(share, lengthBytes, signal),
      allow,
      came: share.meter.came,
      slowDown: share.meter.slowDown,
      get limit() {
        return share.meter.limit();
      },
      share: newShare,
    };
  }
  return newShare();
}

/** The one part of WebAssembly that is used, which Node's types leave out. */
interface WithMemory {
  readonly WebAssembly: {
    readonly Memory: new (size: { readonly initial: number; readonly maximum: number; readonly shared: true }) => {
      readonly buffer: SharedArrayBuffer;
    };
  };
}

const { Memory } = (globalThis as unknown as WithMemory).WebAssembly;

/** Shared, and at the beginning of a page, as writes past the page cache want it: a SharedArrayBuffer alone begins anywhere. */
function newBuffer(bytes: number): Uint8Array {
  const pages = Math.ceil(bytes / WASM_PAGE_BYTES);
  return new Uint8Array(new Memory({ initial: pages, maximum: pages, shared: true }).buffer, 0, bytes);
}
