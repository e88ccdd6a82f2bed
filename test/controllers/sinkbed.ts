/** Starts the receiver's process (sinkreceiver.ts) and speaks with it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { TestContext } from "node:test";

export interface Seen {
  readonly kept: readonly (readonly [string, number])[];
  readonly requests: readonly { headers: Record<string, string>; ids: readonly string[]; body: string }[];
}

export async function receiver(t: TestContext) {
  const file = join(import.meta.dirname, "sinkreceiver.ts");
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", file], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => child.kill());
  const [port] = (await once(child.stdout, "data")) as [Buffer];
  const url = `http://127.0.0.1:${port.toString().trim()}`;
  return {
    url: `${url}/events`,
    behave: async (how: object) => void (await fetch(`${url}/behave`, { method: "POST", body: JSON.stringify(how) })),
    seen: async () => (await (await fetch(`${url}/seen`)).json()) as Seen,
  };
}
