// More uploads than one page of a listing shows, on the real server, which is asked for small pages: all are listed, and all are given up.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CreateMultipartUploadCommand } from "@aws-sdk/client-s3";
import { abortAll, openUploads } from "../../../operator/adapters/store/s3list.ts";
import type { Place } from "../../../operator/adapters/store/s3upload.ts";
import { startS3 } from "../../cluster/s3.ts";

const PAGE = 4;

test("uploads beyond a listing's first page are listed, also several of the key where it ends, and all are given up", async (t) => {
  const s3 = await startS3();
  t.after(() => s3.stop());
  const bucket = await s3.createBucket("many");
  const client = s3.client();
  t.after(() => client.destroy());
  client.middlewareStack.add(
    (next, { commandName }) =>
      (args) => {
        if (commandName === "ListMultipartUploadsCommand") Object.assign(args.input, { MaxUploads: PAGE });
        return next(args);
      },
    { step: "initialize" },
  );
  const keys = Array.from({ length: 2 * PAGE + 1 }, (_, n) => `models/a/${String(n)}`);
  const border = keys[PAGE - 1] ?? "";
  for (const key of [...keys, border, border, "models/b/other"])
    await client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key: `platform/${key}` }));
  const place: Place = { client, onceClient: client, patientClient: client, bucket, prefix: "platform/" };
  const listed = async (below: string): Promise<string[]> => {
    const found: string[] = [];
    for await (const { key } of openUploads(place, below)) found.push(key);
    return found;
  };
  const found = await listed("models/a/");
  assert.deepEqual([...new Set(found)], keys);
  assert.ok(found.filter((key) => key === border).length >= 3, "the youngest upload of a key says that it is alive");
  await abortAll(place, "models/a/");
  assert.deepEqual(await listed("models/"), ["models/b/other"]);
});
