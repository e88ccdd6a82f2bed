/**
 * Copies inside of the service that holds both buckets, in place of sending what was read. A part is asked for only after its bytes came
 * with the source's own credentials, and held to their ETag and CRC-32: nobody gets a byte into the store that he could not read. The
 * first refusal ends it for the whole import; the bytes are in memory and are sent then.
 */
import type { CopyOrigin, ObjectSource, ObjectStore, ObjectUpload } from "../ports.ts";
import type { ModelFile } from "../plan/model/listing.ts";
import { afterRefusal, chooseWay } from "../plan/model/way.ts";
import type { WayChoice } from "../plan/model/way.ts";
import { messageOf } from "../runtime/errors.ts";
import { intoStore } from "./retry.ts";
import type { RetryOptions, Sending } from "./retry.ts";
import { isAbort } from "./slots.ts";

export interface ReadPart extends Pick<Sending, "places"> {
  readonly upload: ObjectUpload;
  readonly file: ModelFile;
  readonly number: number;
  readonly offset: number;
  readonly lengthBytes: number;
  /** Of the bytes that were read. */
  readonly crc32: number;
}

export interface ServerCopy {
  /** True where the part is in the store; false where it has to be sent. */
  part(part: ReadPart): Promise<boolean>;
}

function newServerCopy(source: ObjectSource, retry: RetryOptions, onRefused: (why: string) => void): ServerCopy {
  let isRefused = false;
  const refuse = (why: string): false => {
    if (!isRefused) onRefused(why);
    isRefused = true;
    return false;
  };
  async function copied(
    { upload, number, offset, lengthBytes, crc32, places }: ReadPart,
    origin: CopyOrigin,
  ): Promise<boolean> {
    try {
      const sending = { retry, places };
      await intoStore(sending, async () => upload.copyPart?.(number, origin, { offset, lengthBytes }, crc32));
      return true;
    } catch (error) {
      if (isAbort(error)) throw error;
      return refuse(messageOf(error));
    }
  }
  return {
    async part(part) {
      if (isRefused) return false;
      if (!part.upload.copyPart || !source.originOf) return refuse("source or store cannot");
      return copied(part, source.originOf(part.file));
    },
  };
}

/** The way of one import, as it was chosen and as it has become. */
export interface OpenWay {
  readonly choice: WayChoice;
  readonly serverCopy: ServerCopy | undefined;
}

export interface WayJob {
  readonly source: ObjectSource;
  readonly store: ObjectStore;
  readonly serverSideCopy?: boolean;
  readonly places: { readonly partBytes: number };
}

export function openWay(
  { source, store, serverSideCopy: isAllowed = false, places }: WayJob,
  files: readonly ModelFile[],
  retry: RetryOptions,
  tell: (choice: WayChoice) => void,
): OpenWay {
  const isLarge = files.some(({ sizeBytes }) => sizeBytes > places.partBytes);
  let choice = chooseWay({ storeService: store.service, sourceService: source.service, isAllowed, isLarge });
  tell(choice);
  const onRefused = (why: string): void => {
    choice = afterRefusal(why);
    tell(choice);
  };
  return {
    get choice() {
      return choice;
    },
    serverCopy: choice.way === "ServerSideCopy" ? newServerCopy(source, retry, onRefused) : undefined,
  };
}
