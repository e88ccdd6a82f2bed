// An importer alone in a process, for tests that kill it. Settings come as JSON in TEST_IMPORTER.
import { startImporter } from "../../operator/importer.ts";
import type { ImporterSettings } from "../../operator/importer.ts";
import { newBase } from "../../operator/process.ts";

const input = JSON.parse(process.env["TEST_IMPORTER"] ?? "{}") as {
  settings: ImporterSettings;
  kubeconfig: string;
  logLevel: string;
};
const kube = { kubeconfig: input.kubeconfig };
const config = { namespace: input.settings.namespace, logLevel: input.logLevel, kube, healthPort: 0, metricsPort: 0 };
const base = await newBase("importer", config, {});
await startImporter(base, input.settings).started;
