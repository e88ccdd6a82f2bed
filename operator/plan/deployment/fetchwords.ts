/** How far replicas are with bringing their model, and why one refuses it, for people. */
import type { FetchState } from "../../api/fetches.ts";
import type { ContainerStatus } from "../../api/kubernetes.ts";
import type { Fetching } from "./podfacts.ts";
import { FETCH_STEP } from "./template.ts";

/** More names would hide the sentence that they belong to. */
const MOST_NAMED = 3;

/** To be added to a message; empty where no replica fetches. */
export function fetchWords(fetching: readonly Fetching[]): string {
  const named = fetching
    .slice(0, MOST_NAMED)
    .map(({ podName, state }) => `; ${podName} fetches the model${how(state)}`);
  const more = fetching.length - named.length;
  return named.join("") + (more > 0 ? `; ${more} more fetch it` : "");
}

function how(state: FetchState | undefined): string {
  if (!state || state.totalBytes === 0) return "";
  const { doneBytes, totalBytes, bytesPerSecond } = state;
  const percent = Math.floor((doneBytes * 100) / totalBytes);
  if (bytesPerSecond === 0) return `: ${percent} %`;
  return `: ${percent} %, ${rate(bytesPerSecond)}, ${duration(Math.ceil((totalBytes - doneBytes) / bytesPerSecond))} left`;
}

function rate(bytesPerSecond: number): string {
  return bytesPerSecond < 1e8
    ? `${(bytesPerSecond / 1e6).toFixed(1)} MB/s`
    : `${(bytesPerSecond / 1e9).toFixed(2)} GB/s`;
}

function duration(seconds: number): string {
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `berth fetch` begins its last words with the reason. */
const SIGNATURE_INVALID = /^SignatureInvalid: (\S.*)$/m;
/** Room for several key ids and what to do. */
const MOST_CHARACTERS = 1200;

/** Why the init step does not take the model's manifest, in its own words; undefined where that is not what ended it. */
export function signatureRefusal({ name, state, lastState }: ContainerStatus): string | undefined {
  if (name !== FETCH_STEP) return undefined;
  const { message = "" } = state?.terminated ?? lastState?.terminated ?? {};
  return SIGNATURE_INVALID.exec(message)?.[1]?.slice(0, MOST_CHARACTERS);
}
