/** How the store role passes bytes on: over plain sockets from a bucket, by the store's own stream otherwise. Part of the composition root. */
import type { StoreAppDeps } from "./http/store.ts";
import type { ObjectStore } from "./ports.ts";
import { newRelay } from "./transfer/relay.ts";

type Send = StoreAppDeps["send"];

/** A bucket that is silent for so long has failed; callers are patient for 20 s. */
const SILENCE_MS = 30_000;
const ADDRESS_SECONDS = 300;

/** An object of another size than its manifest says is an error, not a short answer. */
function newStreaming({ stream }: ObjectStore): Send {
  return async ({ key, offset, lengthBytes }, { begin, write }, signal) => {
    const source = await stream(key, offset, lengthBytes, signal);
    begin();
    let left = lengthBytes;
    for await (const piece of source) {
      left -= piece.length;
      if (left < 0) throw new Error("the object is longer than its manifest says");
      await write(piece);
    }
    if (left > 0) throw new Error(`the object ends ${String(left)} bytes early`);
  };
}

export function newSender(store: ObjectStore): { readonly send: Send; readonly close: () => void } {
  const { presign } = store;
  if (!presign) return { send: newStreaming(store), close: () => undefined };
  // Our clock may have moved since the SDK learnt the server's time, and no other request of it need come for hours.
  const refused = async (key: string): Promise<void> => void (await store.head(key).catch(() => undefined));
  const relay = newRelay({ address: (key) => presign(key, ADDRESS_SECONDS), refused, silenceMs: SILENCE_MS });
  return { send: (range, sink, signal) => relay.send(range, sink, signal), close: () => relay.close() };
}
