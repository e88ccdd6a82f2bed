/** The process's log: JSON lines on standard error, with everything that could be a secret removed by name. */
import { pino } from "pino";
import type { Log } from "./ports.ts";

const SECRETS = [
  "authorization",
  "token",
  "secretAccessKey",
  "accessKeyId",
  "sessionToken",
  "password",
  "credentials",
  "data",
  "stringData",
];

/** `level` is one of debug, info, warn, error. */
export function newLog(level: string): Log {
  const paths = SECRETS.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]);
  return pino(
    {
      level,
      base: null,
      redact: { paths, censor: "[removed]" },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}
