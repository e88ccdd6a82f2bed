/** Versions of the engine, compared by number: behaviour that sizing depends on changed between releases. */

export type EngineRelease = readonly [major: number, minor: number, patch: number];

/** Taken where the engine's version says nothing: the newest whose source was read. */
export const NEWEST_RELEASE: EngineRelease = [0, 28, 0];

/** Release out of a version or an image tag such as v0.10.1.1, 0.28.0rc1 or 0.21.0-cu129; the newest where it names none. */
export function releaseOf(version: string | undefined): EngineRelease {
  const match = /^v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?/.exec(version ?? "");
  return match ? [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)] : NEWEST_RELEASE;
}

/** Whether a release is the named one or a later one. */
export function atLeast([a, b, c]: EngineRelease, major: number, minor: number, patch = 0): boolean {
  if (a !== major) return a > major;
  return b === minor ? c >= patch : b > minor;
}
