/** Tells the folder how far a file is, so that a fetch that is killed need not ask for it all again. */
import type { Log } from "../ports.ts";
import { messageOf } from "../runtime/errors.ts";
import type { FetchFolder } from "./fetchfolder.ts";

/** After so many bytes more a restarted fetch need not ask for them again. */
const NOTE_EVERY_BYTES = 64 << 20;

export interface NotedFile {
  readonly index: number;
  readonly path: string;
  /** What the note says that an earlier run has left. */
  readonly haveBytes: number;
}

export interface FileNotes {
  /** So many of the file's first bytes are hashed and written. */
  reached(bytes: number): void;
  /** Resolves when no note is under way; never rejects. */
  settled(): Promise<void>;
}

/**
 * One note at a time, since they share a name on their way, and then the newest: on a fast source the next is due before a slow disk has
 * taken the one before. Bytes wait for none of them, and none that fails costs more than bytes that come twice after a kill.
 */
export function newFileNotes(
  { index, path, haveBytes }: NotedFile,
  folder: Pick<FetchFolder, "note">,
  log: Log,
): FileNotes {
  let reachedBytes = haveBytes;
  let notedBytes = haveBytes;
  let writing: Promise<void> | undefined;
  const isDue = (): boolean => reachedBytes - notedBytes >= NOTE_EVERY_BYTES;
  const write = async (): Promise<void> => {
    while (isDue()) {
      notedBytes = reachedBytes;
      await folder.note(index, notedBytes).catch((error: unknown) => {
        log.warn({ path, bytes: notedBytes, error: messageOf(error) }, "how far a file is could not be noted");
      });
    }
    writing = undefined;
  };
  return {
    reached(bytes) {
      reachedBytes = bytes;
      if (isDue()) writing ??= write();
    },
    settled: async () => writing,
  };
}
