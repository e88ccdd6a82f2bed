// What a chapter of the demo is given, and what it must be.
import type { Replica } from "../chart/rendered.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import type { S3Server } from "../cluster/s3.ts";
import type { Screen } from "./screen.ts";

/** Folders of examples/ that are applied. */
export type ExampleName = "quickstart" | "catalogue" | "sizing";

/** Everything that is there when the first chapter begins: the test bed, the chart installed, Berth running. */
export interface Demo {
  readonly screen: Screen;
  readonly cluster: ControlPlane;
  readonly s3: S3Server;
  readonly operator: Replica;
  readonly importer: Replica;
  /** Folders with copies of examples/ that name this run's object storage. */
  readonly examples: Readonly<Record<ExampleName, string>>;
  /** Whether the deployment is to be left running. */
  readonly keep: boolean;
}

/** A part of the demo that takes at most 25 s after those that it needs. Throwing ends the demo with the reason. */
export interface Chapter {
  /** What CHAPTERS= names. */
  readonly name: string;
  readonly title: string;
  /** Names of chapters that must have run before. */
  readonly needs: readonly string[];
  /** True for the chapter that takes everything away: KEEP=1 leaves it out. */
  readonly isLast?: boolean;
  run(demo: Demo): Promise<void>;
}

/** Names that the whole demo uses. */
export const team = "team-a";
export const otherTeam = "team-b";
export const deploymentName = "embed";
export const modelName = "minilm";
export const catalogueModelName = "llama-tiny";
/** A model for very long texts, and a deployment that wants all of that length. */
export const longModelName = "long";
export const longContext = 4_194_304;
export const readerName = "reader";
export const release = "berth";
export const systemNamespace = "berth-system";
export const nodeTypeName = "l4-1";
