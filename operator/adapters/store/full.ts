/** What a folder's file system says, in our words: a disk without room is a fault of its own, with what was wanted and what there is. */
import { statfs } from "node:fs/promises";
import { RetryError, TerminalError } from "../../runtime/errors.ts";
import { storeError } from "../s3/errors.ts";
import { codeOf } from "./incoming.ts";

async function freeOf(root: string): Promise<string> {
  const found = await statfs(root).catch(() => undefined);
  if (!found) return "";
  const { bavail, bsize, files, ffree } = found;
  return `, ${String(bavail * bsize)} are free${files > 0 && ffree === 0 ? " but no file can be made" : ""}`;
}

/** `wantedBytes`: how many were to be written. */
export async function folderError(error: unknown, root: string, wantedBytes: number): Promise<RetryError> {
  const code = codeOf(error);
  const url = `file://${root}`;
  if (code !== "ENOSPC" && code !== "EDQUOT") return storeError(error, url, []);
  const wanted = `${String(wantedBytes)} bytes were to be written${await freeOf(root)}`;
  const remedy = "make room there or give it a larger volume";
  return new RetryError(new TerminalError("StoreFull", `the store ${url} has no room (${code}): ${wanted}: ${remedy}`));
}
