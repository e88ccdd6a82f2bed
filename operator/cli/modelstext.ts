/** What `berth models` prints, as text and as the rows of its JSON. */
import type { Unjudged } from "../plan/store/garbage.ts";
import { manifestOf, namedKeys, stateOf } from "../plan/store/inventory.ts";
import type { Inventory, RevisionState } from "../plan/store/inventory.ts";
import type { SourceOrigin } from "../plan/model/importrecord.ts";
import type { Collection } from "../transfer/garbage.ts";
import type { Fault, Verified } from "../transfer/verify.ts";
import { sizeText } from "./importbar.ts";

export interface ListedRevision {
  readonly folder: string;
  readonly state: RevisionState;
  readonly digest?: string;
  readonly files?: number;
  /** Of all files that the manifest names. */
  readonly sizeBytes: number;
  /** Of those that lie in its own folder: less where it points at objects of earlier revisions. Without a manifest, of all there is. */
  readonly ownBytes: number;
  readonly importedAt?: string;
  readonly source?: SourceOrigin;
  readonly version?: string;
}

export function listOf({ models }: Inventory): ListedRevision[] {
  return models.flatMap((model) =>
    model.revisions.map((revision): ListedRevision => {
      const { folder, read, objects } = revision;
      const manifest = manifestOf(revision);
      const record = read?.kind === "manifest" ? read.record : undefined;
      const named = manifest && new Set(namedKeys(revision, manifest));
      const own = objects.filter(({ key }) => named?.has(key) !== false);
      const ownBytes = own.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      const sizeBytes = manifest ? manifest.files.reduce((sum, file) => sum + file.sizeBytes, 0) : ownBytes;
      return {
        folder,
        state: stateOf(model, revision),
        ...(manifest ? { digest: manifest.digest, files: namedKeys(revision, manifest).length } : {}),
        sizeBytes,
        ownBytes,
        ...(record ? { importedAt: record.importedAt, source: record.source, version: record.version } : {}),
      };
    }),
  );
}

function sourceText(source: SourceOrigin | undefined): string {
  if (!source) return "";
  if (source.endpoint.startsWith("file:")) return source.endpoint;
  return "repo" in source ? `${source.repo}@${source.commit.slice(0, 12)}` : `${source.bucket}/${source.prefix}`;
}

/** Columns as wide as their widest cell; names from a store may hold anything. */
function table(rows: readonly (readonly string[])[]): string {
  const clean = rows.map((row) => row.map((cell) => cell.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?")));
  const widths = (clean[0] ?? []).map((_cell, at) => Math.max(...clean.map((row) => row[at]?.length ?? 0)));
  return clean
    .map(
      (row) =>
        row
          .map((cell, at) => cell.padEnd(widths[at] ?? 0))
          .join("  ")
          .trimEnd() + "\n",
    )
    .join("");
}

export function listText(rows: readonly ListedRevision[], foreign: readonly string[]): string {
  const head = ["REVISION", "STATE", "DIGEST", "FILES", "SIZE", "OWN", "IMPORTED", "SOURCE"];
  const lines = rows.map((row) => [
    row.folder,
    row.state,
    row.digest?.slice(0, 19) ?? "",
    row.files === undefined ? "" : String(row.files),
    sizeText(row.sizeBytes),
    sizeText(row.ownBytes),
    row.importedAt ?? "",
    sourceText(row.source),
  ]);
  const all = rows.length === 0 ? "there is no model in this store\n" : table([head, ...lines]);
  return foreign.length === 0 ? all : `${all}${String(foreign.length)} objects are none of Berth's\n`;
}

const REMEDY =
  "DAMAGED: annotate the Model with berth.dev/reimport=now, and its deployments with berth.dev/rollout when it is done\n";

const AGAIN = "run it again when the store answers; what it cannot give then either is to be imported anew";
const ALLOW =
  "the store refuses some: let these keys, or this user, read them, restore what is archived, then run it again";

/** What was not read, and what to do about it. */
function unreadText({ objects, unread, faults, isGivenUp }: Verified): string {
  if (unread === 0) return "";
  const has = (kind: Fault["kind"]): boolean => faults.some((fault) => fault.kind === kind);
  const count = `${String(unread)} of ${String(objects)} objects were not read`;
  const rest = isGivenUp ? "; the store gave nothing any more, so the last were not asked for" : "";
  return [`${count}${rest}`, ...(has("Passing") ? [AGAIN] : []), ...(has("Refused") ? [ALLOW] : []), ""].join("\n");
}

export function verifiedText(verified: Verified, seconds: number, isSigned: boolean): string {
  const { revisions, objects, bytes, findings, faults } = verified;
  const shown = (key: string): string => JSON.stringify(key).slice(1, -1);
  const lines = [
    ...findings.map(({ key, problem }) => `${shown(key)} ${problem}\n`),
    ...faults.map(({ key, problem }) => `${shown(key)} was not read: ${problem}\n`),
  ];
  const rate = seconds > 0 ? `, ${sizeText(bytes / seconds)}/s` : "";
  const read = `${String(revisions)} revisions, ${String(objects)} objects, ${sizeText(bytes)} in ${seconds.toFixed(1)} s${rate}\n`;
  const signed = isSigned ? "" : "signatures were not checked: name the platform's public key with --trust\n";
  const end = unreadText(verified) + (findings.length > 0 ? REMEDY : "");
  return `${lines.join("")}${read}${signed}${end === "" ? "intact\n" : end}`;
}

/** A list may lack what its maker had no right to. */
function unjudgedText({ folder, lacks }: Unjudged): string {
  return `${folder} was not judged: no ${lacks} is in the list, or in one of them; ask the cluster with --cluster\n`;
}

export function garbageText(
  { fences, removals, unjudged }: Collection,
  { act, known }: { readonly act: boolean; readonly known: boolean },
): string {
  const given = fences.map(({ folder, because }) => `${folder} ${act ? "was" : "would be"} given up: ${because}\n`);
  const gone = removals.map(({ folder, keys, sizeBytes, uploads, because }) => {
    const open = uploads > 0 ? ` and ${String(uploads)} unfinished uploads` : "";
    return `${folder} ${String(keys.length)} objects with ${sizeText(sizeBytes)}${open}: ${because}\n`;
  });
  const bytes = removals.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const unknown = known ? "" : "complete revisions were not judged: say what the cluster needs with --in-use\n";
  const total =
    removals.length + fences.length === 0
      ? "nothing to remove\n"
      : `${sizeText(bytes)} ${act ? "removed" : "can go: --yes removes it"}\n`;
  return [...given, ...gone, ...unjudged.map(unjudgedText), unknown, total].join("");
}
