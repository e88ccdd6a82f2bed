/** Credentials that expire or are replaced in the middle: asked for anew where the server refuses them, by one request for all. */
import { TerminalError } from "../../runtime/errors.ts";
import { wordsOf } from "./client.ts";
import type { S3Credentials } from "./client.ts";

export interface Renewal {
  /** Those to sign with now; only where there are any. */
  readonly current: () => S3Credentials;
  /** Strings that no message may carry, old ones included. */
  hidden(): readonly string[];
  /** Runs the work, once more where it was refused and the credentials have changed since. */
  run<T>(work: () => Promise<T>, translate: (error: unknown) => Error): Promise<T>;
}

const isRefused = (error: Error): boolean => error instanceof TerminalError && error.reason === "AccessDenied";

export function newRenewal(
  first: S3Credentials | undefined,
  renew: (() => Promise<S3Credentials | undefined>) | undefined,
): Renewal {
  let current = first ?? { accessKeyId: "", secretAccessKey: "" };
  const hidden = new Set<string>();
  const hide = (credentials: S3Credentials): void => wordsOf(credentials).forEach((word) => hidden.add(word));
  hide(current);
  let asking: Promise<boolean> | undefined;

  /** True where others than `used` are there now. */
  async function differs(used: S3Credentials): Promise<boolean> {
    if (current !== used) return true;
    if (!renew || !first) return false;
    asking ??= renew()
      .then((found) => {
        if (!found || JSON.stringify(found) === JSON.stringify(current)) return false;
        hide(found);
        current = found;
        return true;
      })
      .finally(() => (asking = undefined));
    return asking;
  }

  return {
    current: () => current,
    hidden: () => [...hidden],
    async run(work, translate) {
      const used = current;
      try {
        return await work();
      } catch (error) {
        const said = translate(error);
        if (!isRefused(said) || !(await differs(used))) throw said;
      }
      try {
        return await work();
      } catch (error) {
        throw translate(error);
      }
    },
  };
}
