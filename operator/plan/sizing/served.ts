/** Whether a version of the engine serves an architecture at all: versions drop families and learn new ones. */
import { firstServed, lastServed } from "../model/architectures.ts";
import { atLeast, type EngineRelease } from "./release.ts";

type Versions = Readonly<Record<string, readonly string[]>>;

const versionOf = (table: Versions, architecture: string): string | undefined =>
  Object.keys(table).find((version) => table[version]?.includes(architecture));

function numbers(version: string): readonly [number, number] {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return [major, minor];
}

/** Why `release` does not serve the architecture, with the versions that do; undefined where it does. */
export function servedProblem(architecture: string | undefined, release: EngineRelease): string | undefined {
  if (architecture === undefined) return undefined;
  const named = `vLLM ${release.slice(0, 2).join(".")}`;
  const last = versionOf(lastServed, architecture);
  if (last !== undefined) {
    const [major, minor] = numbers(last);
    if (atLeast(release, major, minor + 1))
      return `${named} no longer serves ${architecture}, the last version that does is ${last}: set spec.engine.version to ${last}, if the platform offers it, or use another model`;
  }
  const first = versionOf(firstServed, architecture);
  return first === undefined || atLeast(release, ...numbers(first))
    ? undefined
    : `${named} does not serve ${architecture} yet, ${first} is the first that does: set spec.engine.version to ${first} or newer`;
}
