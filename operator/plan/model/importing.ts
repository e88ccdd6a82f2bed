/** What an import reports and how it ends: the words that transfer/ and the model controller share. */
import type { ModelRevision } from "../../api/model.ts";
import type { ModelFacts } from "./inspect.ts";
import type { Listing } from "./listing.ts";
import type { ModelProblem } from "./problem.ts";
import type { WayChoice } from "./way.ts";

export interface ImportObserver {
  /** The listing was found good; its files are inspected next. */
  listed(listing: Listing): void;
  /** The headers were found good; copying may follow. */
  inspected(facts: ModelFacts): void;
  /** Bytes that are safely in the store; `copied` is false for those that an earlier attempt had brought. */
  bytes(count: number, copied: boolean): void;
  /** What an earlier revision holds, where there is any: neither read nor written. Told once, before anything is copied. */
  reused(files: number, bytes: number): void;
  file(): void;
  /** How the bytes go; told when copying begins, and again where that changes. */
  going(choice: WayChoice): void;
  committing(): void;
  /** The source refuses to say what it states of the file: what comes is compared with nothing of its own. */
  unstated(path: string, because: string): void;
  /** A part of a file (a small file is one) could not be read or stored now, and is tried again. */
  partRetried(): void;
}

/** Refusals of the model are results; faults of source and store are thrown. */
export type ImportResult =
  | { readonly kind: "refused"; readonly problem: ModelProblem }
  | {
      readonly kind: "inspected";
      readonly facts: ModelFacts;
      readonly revisions: readonly ModelRevision[];
      /** Of a hub's repository. */
      readonly commit?: string;
    }
  | {
      readonly kind: "imported";
      readonly facts: ModelFacts;
      readonly revisions: readonly ModelRevision[];
      readonly commit?: string;
      /** False where the store already held this state of the source. */
      readonly copied: boolean;
      /** How the bytes came; absent where none did. */
      readonly way?: WayChoice;
    };
