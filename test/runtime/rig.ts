// Wires a transport, a client and reflectors for a test against the API server, directly or through a proxy.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";

import type { KubeObject, KubeReader, KubeWriter, Log, Resource } from "../../operator/ports.ts";
import { newKubeClient } from "../../operator/runtime/client.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import { fileCredentials } from "../../operator/runtime/credentials.ts";
import { newWriteFeed } from "../../operator/runtime/feed.ts";
import { newRuntimeMetrics } from "../../operator/runtime/metrics.ts";
import { newReflector } from "../../operator/runtime/reflector.ts";
import type { Reflector, ReflectorDeps, ReflectorOptions } from "../../operator/runtime/reflector.ts";
import { newTransport } from "../../operator/runtime/transport.ts";
import type { Transport } from "../../operator/runtime/transport.ts";
import type { Cluster } from "../cluster/cluster.ts";

export interface ConfigMap extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

export const configMaps: Resource<ConfigMap> = {
  group: "",
  version: "v1",
  plural: "configmaps",
  kind: "ConfigMap",
  namespaced: true,
};

/** A log that keeps what it is told. */
export function newMemoryLog(): Log & { readonly lines: { level: string; message: string; fields: object }[] } {
  const lines: { level: string; message: string; fields: object }[] = [];
  const make = (bound: object): Log => {
    const write = (level: string) => (fields: object, message: string) =>
      void lines.push({ level, message, fields: { ...bound, ...fields } });
    return {
      debug: write("debug"),
      info: write("info"),
      warn: write("warn"),
      error: write("error"),
      child: (fields) => make({ ...bound, ...fields }),
    };
  };
  return { ...make({}), lines };
}

export interface Rig extends ReflectorDeps {
  readonly transport: Transport;
  readonly kube: KubeReader & KubeWriter;
  readonly log: ReturnType<typeof newMemoryLog>;
  readonly tokenFile: string;
  /** A reflector that is stopped when the test ends. */
  reflector<T extends KubeObject>(options: ReflectorOptions<T>): Reflector<T>;
}

/** Everything is closed when the test ends; `url` goes through a proxy. */
export function newRig(
  t: Pick<TestContext, "after">,
  cluster: Cluster,
  { url = cluster.url, token = cluster.adminToken, userAgent = "runtime-test" } = {},
): Rig {
  const folder = mkdtempSync(join(tmpdir(), "runtime-"));
  const tokenFile = join(folder, "token");
  writeFileSync(tokenFile, token, { mode: 0o600 });
  const clock = systemClock;
  const log = newMemoryLog();
  const metrics = newRuntimeMetrics();
  const credentials = fileCredentials({ server: url, tokenFile, caFile: cluster.caPath }, clock);
  const transport = newTransport({ credentials, clock, log, metrics, userAgent });
  const feed = newWriteFeed();
  const kube = newKubeClient({ transport, feed });
  const reflectors: Reflector[] = [];
  t.after(async () => {
    await Promise.all(reflectors.map((reflector) => reflector.stop()));
    await transport.close();
    rmSync(folder, { recursive: true });
  });
  return {
    clock,
    log,
    metrics,
    transport,
    feed,
    kube,
    tokenFile,
    reflector(options) {
      const reflector = newReflector(options, { transport, clock, log, metrics, feed });
      reflectors.push(reflector as unknown as Reflector);
      return reflector;
    },
  };
}
