/** Flags of the commands that read a bucket: how it is asked, where the AWS_* variables do not say it. */
import { Option } from "commander";
import type { Command } from "commander";
import type { BucketWays } from "./inspectplace.ts";

export interface BucketFlags {
  readonly sourceAddressingStyle?: "Path" | "VirtualHost";
  readonly requesterPays?: boolean;
}

/** Where a bucket's name stands: a flag of this name. */
export const styleOption = (flag: string, what: string): Option =>
  new Option(`--${flag} <style>`, `where the bucket's name stands in addresses of ${what}`).choices([
    "Path",
    "VirtualHost",
  ]);

export function bucketOptions(command: Command): Command {
  return command
    .addOption(styleOption("source-addressing-style", "an s3:// source").default("Path"))
    .option("--requester-pays", "accept that the account of the credentials pays for reading an s3:// source");
}

export const waysOf = ({ sourceAddressingStyle, requesterPays }: BucketFlags): BucketWays => ({
  addressing: sourceAddressingStyle,
  requesterPays,
});
