/** Single flags and variables. Every flag `--some-name` may also be given as BERTH_SOME_NAME; the flag wins. */
import { shownURL } from "../adapters/storageurl.ts";
import { commonOptions, fetchOptions, importerOptions, operatorOptions, storeOptions } from "../options.ts";

export type Flags = Readonly<Record<string, unknown>>;
export type Environment = Readonly<Record<string, string | undefined>>;

/** Everything that is wrong with flags and environment, one line each. */
export class ConfigError extends Error {
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.name = "ConfigError";
    this.problems = problems;
  }
}

/** Reads single values and keeps what is wrong with them. */
export class Reader {
  readonly problems: string[] = [];
  readonly #flags: Flags;
  readonly #env: Environment;
  constructor(flags: Flags, env: Environment) {
    this.#flags = flags;
    this.#env = env;
  }

  text(flag: string): string | undefined {
    const camel = flag.replace(/-([a-z0-9])/g, (_all, letter: string) => letter.toUpperCase());
    const given = this.#flags[camel] ?? this.#env[`BERTH_${flag.toUpperCase().replaceAll("-", "_")}`];
    const all = [...commonOptions, ...operatorOptions, ...importerOptions, ...storeOptions, ...fetchOptions];
    const fallback = all.find((entry) => entry.flag === flag)?.fallback;
    return typeof given === "string" && given !== "" ? given : fallback;
  }

  required(flag: string): string {
    const value = this.text(flag);
    if (value === undefined)
      this.problems.push(`--${flag} is missing: give the flag or set BERTH_${flag.toUpperCase().replaceAll("-", "_")}`);
    return value ?? "";
  }

  whole(flag: string, min: number, max: number): number {
    const text = this.text(flag) ?? "";
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max)
      this.problems.push(`--${flag} is "${text}": give a whole number from ${min} to ${max}`);
    return value;
  }

  flag(flag: string): boolean {
    const text = this.text(flag);
    if (text !== "true" && text !== "false") this.problems.push(`--${flag} is "${text}": give true or false`);
    return text === "true";
  }

  url(flag: string, ...schemes: string[]): string {
    const text = this.required(flag);
    if (text !== "" && !schemes.some((scheme) => text.startsWith(`${scheme}://`))) {
      this.problems.push(
        `--${flag} is ${shownURL(text)}: begin it with ${schemes.map((scheme) => `${scheme}://`).join(" or ")}`,
      );
    }
    return text;
  }

  done(): void {
    if (this.problems.length > 0) throw new ConfigError(this.problems);
  }
}
