/** Reads a model's facts from a place: headers and JSON only. */
import type { ModelFacts } from "../plan/model/inspect.ts";
import { filesOf, MAX_OBJECTS, type Listing, type SourceKind } from "../plan/model/listing.ts";
import { isProblem, type ModelProblem } from "../plan/model/problem.ts";
import type { ObjectSource, SourceObject } from "../ports.ts";
import { systemClock } from "../runtime/clock.ts";
import { TerminalError } from "../runtime/errors.ts";
import { inspectSource } from "../transfer/headers.ts";
import type { Place } from "./inspectplace.ts";

export interface InspectedModel {
  readonly facts: ModelFacts;
  /** What an import would refuse, though the facts can be told. */
  readonly warnings: readonly string[];
}

/** TerminalError with the inspection's own reason where the model cannot be served. */
export async function readModel(
  source: ObjectSource,
  { prefix, kind }: Pick<Place, "prefix" | "kind">,
): Promise<InspectedModel> {
  const { listing, warnings } = listed(await everything(source, prefix), prefix, kind);
  const retry = { clock: systemClock, tries: 3, baseMs: 200 };
  const facts = await inspectSource({ source, retry }, listing);
  if (isProblem(facts)) throw refused(facts);
  return { facts, warnings };
}

async function everything(source: ObjectSource, prefix: string): Promise<SourceObject[]> {
  const found: SourceObject[] = [];
  let next: string | undefined;
  do {
    const page = await source.list(prefix, next);
    found.push(...page.objects);
    next = page.next;
  } while (next !== undefined && found.length <= MAX_OBJECTS);
  return found;
}

/** Files for which an import refuses a bucket are left out and told: a copy of a repository often has a second, unsafe copy of its weights. */
function listed(
  objects: readonly SourceObject[],
  prefix: string,
  kind: SourceKind,
): { listing: Listing; warnings: string[] } {
  const strict = filesOf(objects, prefix, Number.MAX_SAFE_INTEGER, kind, "show");
  if (!isProblem(strict)) return { listing: strict, warnings: [] };
  if (strict.reason !== "UnsafeFormat" && strict.reason !== "CustomCode") throw refused(strict);
  const harmless = objects.filter(({ key }) => /\.(safetensors|json|txt|model|jinja|tiktoken|md)$/.test(key));
  const listing = filesOf(harmless, prefix, Number.MAX_SAFE_INTEGER, kind, "show");
  if (isProblem(listing)) throw refused(strict);
  return { listing, warnings: [`an import would refuse it: ${strict.message}`] };
}

/** An import's words, without the fields of a Model that nobody has written here. */
function refused({ reason, message }: ModelProblem): TerminalError {
  const plain = message
    .replace("the bucket is empty: check spec.source.s3.bucket and prefix", "no file stands there: check the place")
    .replace(/spec\.source\.(s3\.bucket and prefix|s3\.prefix|huggingFace)/, "the place");
  return new TerminalError(reason, plain);
}
