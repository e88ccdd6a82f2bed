/** What the head of an answer says of the object that was asked for, and whether it is that one. */
import type { SourceObject } from "../../ports.ts";
import { RetryError, TerminalError } from "../../runtime/errors.ts";

/** First byte and total size out of `bytes 0-9/100`; undefined where the server does not tell. */
function rangeOf(contentRange: string | undefined): { readonly from: number; readonly total: number } | undefined {
  const [, from, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(contentRange ?? "") ?? [];
  return from === undefined ? undefined : { from: Number(from), total: Number(total) };
}

export const changed = (object: SourceObject, what: string): RetryError =>
  new RetryError(new TerminalError("SourceChanged", `${object.key.slice(0, 200)} ${what} while it was read`));

/** What an answer says of the object. */
export interface Said {
  readonly range: string | undefined;
  readonly lengthBytes: number | undefined;
  readonly versionId: string | undefined;
}

export function checkRange(object: SourceObject, offset: number, lengthBytes: number, said: Said): void {
  const { from, total } = rangeOf(said.range) ?? {};
  if (total === undefined && lengthBytes !== object.sizeBytes) throw new Error("the server ignores ranges");
  if (from !== undefined && from !== offset)
    throw new Error(`the server answers from byte ${String(from)} where ${String(offset)} was asked for`);
  const told = total ?? said.lengthBytes;
  if (told !== undefined && told !== object.sizeBytes) throw changed(object, "changed its size");
}

export function saidBy(headers: ReadonlyMap<string, string>): Said {
  const length = headers.get("content-length");
  return {
    range: headers.get("content-range"),
    lengthBytes: length === undefined ? undefined : Number(length),
    versionId: headers.get("x-amz-version-id"),
  };
}

/** Whether an answer with these headers is the object from there to its end. */
export function checkRest(object: SourceObject, offset: number, said: Said): void {
  const asked = object.sizeBytes - offset;
  const { lengthBytes = asked } = said;
  // One that ignores the range may be the whole object; a page of words is not.
  if (rangeOf(said.range) === undefined && lengthBytes !== object.sizeBytes)
    throw new Error("the server ignores ranges");
  checkRange(object, offset, asked, said);
  if (lengthBytes !== asked)
    throw new Error(`the server announces ${String(lengthBytes)} bytes where ${String(asked)} were asked for`);
}
