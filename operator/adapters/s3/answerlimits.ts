/**
 * The SDK gathers an answer's whole body and makes a tree of it before anyone sees a word. Here it is counted on the way: a page of a
 * listing that does not end would else take the memory of every import of the process.
 */
import { Transform, pipeline } from "node:stream";
import type { Readable } from "node:stream";
import type { S3Client } from "@aws-sdk/client-s3";

/** A page has at most 1,000 entries; with keys of 1,024 bytes, each written as five (`&amp;`), it stays below. */
const MOST_BYTES = 8 << 20;
const MOST_REFUSAL_BYTES = 1 << 20;
/** Each becomes objects of several hundred bytes; an honest entry has some twenty, closing ones counted. */
const MOST_TAGS = 100_000;
const TAG = "<".charCodeAt(0);

export class AnswerTooLarge extends Error {
  override readonly name = "AnswerTooLarge";
}

function tagsIn(piece: Uint8Array): number {
  let tags = 0;
  for (let at = piece.indexOf(TAG); at >= 0; at = piece.indexOf(TAG, at + 1)) tags++;
  return tags;
}

function bounded(body: Readable, mostBytes: number): Readable {
  let bytes = 0;
  let tags = 0;
  const counted = new Transform({
    transform(piece: Uint8Array, _encoding, done) {
      bytes += piece.length;
      tags += tagsIn(piece);
      if (bytes > mostBytes) done(new AnswerTooLarge(`the answer is longer than ${String(mostBytes)} bytes`));
      else if (tags > MOST_TAGS) done(new AnswerTooLarge(`the answer has more than ${String(MOST_TAGS)} tags`));
      else done(null, piece);
    },
  });
  return pipeline(body, counted, () => undefined) as Readable;
}

/** Of all answers but the bytes of objects, which go to whoever asked for them as they come. */
export function boundAnswers(client: S3Client): void {
  client.middlewareStack.add(
    (next, context) => async (args) => {
      const result = await next(args);
      const response = result.response as { statusCode: number; body?: Readable };
      const isRefusal = response.statusCode >= 300;
      if (response.body && (isRefusal || context.commandName !== "GetObjectCommand"))
        response.body = bounded(response.body, isRefusal ? MOST_REFUSAL_BYTES : MOST_BYTES);
      return result;
    },
    // Low is innermost: before anything reads the body.
    { step: "deserialize", priority: "low", name: "berthBoundAnswers" },
  );
}
