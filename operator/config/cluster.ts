/** What every command that speaks to the cluster needs. */
import type { CredentialsConfig } from "../runtime/credentials.ts";
import { Reader, type Environment, type Flags } from "./reader.ts";

export interface CommonConfig {
  readonly namespace: string;
  readonly logLevel: string;
  readonly kube: CredentialsConfig;
  readonly healthPort: number;
  readonly metricsPort: number;
}

/** What every command that speaks to the cluster needs. */
export function commonConfig(flags: Flags, env: Environment): CommonConfig {
  const read = new Reader(flags, env);
  const config = common(read, env);
  read.done();
  return Object.freeze(config);
}

const LEVELS = ["debug", "info", "warn", "error"];

export function levelOf(read: Reader): string {
  const logLevel = read.text("log-level") ?? "info";
  if (!LEVELS.includes(logLevel)) read.problems.push(`--log-level is "${logLevel}": give one of ${LEVELS.join(", ")}`);
  return logLevel;
}

export function common(read: Reader, env: Environment): CommonConfig {
  const logLevel = levelOf(read);
  const kubeconfig = read.text("kubeconfig");
  return {
    namespace: env["POD_NAMESPACE"] ?? read.required("namespace"),
    logLevel,
    kube: kubeconfig === undefined ? {} : { kubeconfig },
    healthPort: read.whole("health-port", 0, 65_535),
    metricsPort: read.whole("metrics-port", 0, 65_535),
  };
}
